"""One thing said over a new connection, and all that is answered."""

import errno
import socket

# The broker may close before all of it was said.
GONE = (errno.ECONNRESET, errno.EPIPE, errno.ENOTCONN)


def say(host: str, port: int, octets: bytes) -> bytes:
    with socket.create_connection((host, port), 30) as client:
        answer = b""
        try:
            client.sendall(octets)
            client.shutdown(socket.SHUT_WR)
            while more := client.recv(65536):
                answer += more
        except OSError as error:
            if error.errno not in GONE:
                raise
    return answer
