"""A WebSocket client of the tests' own, that looks like a socket: what is sent goes out as one binary frame."""

import os
import socket
import struct
from typing import NamedTuple

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
FINAL, MASKED = 0x80, 0x80


class Frame(NamedTuple):
    opcode: int
    payload: bytes


def frame(opcode: int, payload: bytes, *, final: bool = True, announced: int | None = None) -> bytes:
    """As a client sends it: masked. `announced`: another length than the payload's."""
    length = len(payload) if announced is None else announced
    first = opcode | FINAL * final
    if length < 126:
        head = struct.pack(">BB", first, MASKED | length)
    elif length < 1 << 16:
        head = struct.pack(">BBH", first, MASKED | 126, length)
    else:
        head = struct.pack(">BBQ", first, MASKED | 127, length)
    mask = os.urandom(4)
    repeated = mask * (len(payload) // 4 + 1)
    masked = (int.from_bytes(payload, "big") ^ int.from_bytes(repeated[: len(payload)], "big")).to_bytes(
        len(payload), "big"
    )
    return head + mask + masked


def request(path: str = "/", subprotocol: str | None = "amqp", origin: str | None = None) -> bytes:
    lines = [
        f"GET {path} HTTP/1.1",
        "Host: localhost",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
    ]
    if subprotocol is not None:
        lines.append(f"Sec-WebSocket-Protocol: {subprotocol}")
    if origin is not None:
        lines.append(f"Origin: {origin}")
    return "\r\n".join([*lines, "", ""]).encode()


class Refused(Exception):
    """The answer was no 101."""

    def __init__(self, head: str) -> None:
        super().__init__(head)
        self.status = int(head.split(" ")[1])


class WebSocket:
    def __init__(self, connected: socket.socket, subprotocol: str | None = "amqp", origin: str | None = None) -> None:
        self.socket = connected
        self.received = b""
        self.payload = b""  # of frames, not asked for yet
        connected.sendall(request(subprotocol=subprotocol, origin=origin))
        while b"\r\n\r\n" not in self.received:
            more = connected.recv(4096)
            assert more, f"closed after {self.received!r}"
            self.received += more
        head, self.received = self.received.split(b"\r\n\r\n", 1)
        self.head = head.decode()
        if not self.head.startswith("HTTP/1.1 101 "):
            raise Refused(self.head)
        assert "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in self.head  # of the key above, as in RFC 6455

    def _exactly(self, count: int) -> bytes:
        while len(self.received) < count:
            more = self.socket.recv(1 << 16)
            if not more:
                raise ConnectionResetError
            self.received += more
        octets, self.received = self.received[:count], self.received[count:]
        return octets

    def read_frame(self) -> Frame:
        first, length = self._exactly(2)
        assert not length & MASKED, "a server does not mask"
        if length == 126:
            (length,) = struct.unpack(">H", self._exactly(2))
        elif length == 127:
            (length,) = struct.unpack(">Q", self._exactly(8))
        return Frame(first & 0x0F, self._exactly(length))

    # what a Client asks of a socket

    def sendall(self, octets: bytes) -> None:
        self.socket.sendall(frame(BINARY, octets))

    def recv(self, count: int) -> bytes:
        while not self.payload:
            got = self.read_frame()
            if got.opcode == CLOSE:
                return b""
            assert got.opcode in (BINARY, CONTINUATION, PONG), got
            self.payload = b"" if got.opcode == PONG else got.payload
        octets, self.payload = self.payload[:count], self.payload[count:]
        return octets

    def settimeout(self, seconds: float) -> None:
        self.socket.settimeout(seconds)

    def shutdown(self, how: int) -> None:
        self.socket.shutdown(how)

    def getsockname(self) -> tuple[str, int]:
        host, port = self.socket.getsockname()[:2]
        return host, port

    def close(self) -> None:
        self.socket.close()
