"""Closing what is deleted: not by who asks, and not forgotten.

A socket that lingers stands for a file of many blocks: its close ends when the other side has read everything.
"""

import os
import socket
import struct
from pathlib import Path

from flowmq._disposal import _dispose_of
from tests.support.broker import until

LINGER_SECONDS = 600


def disposing() -> list[str]:
    """The threads of this process that close something."""
    found = []
    for thread in Path("/proc/self/task").iterdir():
        try:
            name = (thread / "comm").read_text().strip()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended meanwhile
        if name == "flowmq-disposal":
            found.append(thread.name)
    return found


def is_open(fd: int) -> bool:
    return Path(f"/proc/self/fd/{fd}").is_symlink()


def test_who_asks_does_not_wait() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        slow = socket.create_connection(listening.getsockname())
        reader, _ = listening.accept()
    with reader:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, LINGER_SECONDS))
        slow.setblocking(False)
        sent = 0
        try:
            while True:
                sent += slow.send(bytes(65536))
        except BlockingIOError:
            pass
        _dispose_of(slow.detach())
        until(lambda: len(disposing()) == 1)
        received = 0
        while octets := reader.recv(65536):
            received += len(octets)
        assert received == sent
    until(lambda: not disposing())


def test_a_file_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "deleted"
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    path.unlink()
    _dispose_of(fd)
    until(lambda: not is_open(fd))


def test_what_is_not_open_harms_nobody() -> None:
    _dispose_of(-1)
    until(lambda: not disposing())
