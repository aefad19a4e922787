"""Two ways to run out of disk: a small file system of one's own, or a limit on the size of files."""

import contextlib
import resource
import subprocess
from pathlib import Path
from typing import Protocol

from tests.support.broker import Broker


class NotPossible(Exception):
    """This machine does not let us."""


class Disk(Protocol):
    """Where a broker keeps its data. `shrink` comes after its start; `make_room` while it is not running."""

    directory: Path
    complaint: str

    def shrink(self, broker: Broker) -> None: ...
    def make_room(self) -> None: ...
    def close(self) -> None: ...


class SmallFileSystem:
    """A tmpfs: ENOSPC, at the next preallocation or in the middle of a write."""

    complaint = "No space left on device"

    def __init__(self, directory: Path, mebibytes: int) -> None:
        self.directory = directory
        directory.mkdir()
        self._mount("-t", "tmpfs", "-o", f"size={mebibytes}m", "tests-crash", str(directory))

    @staticmethod
    def _mount(*arguments: str) -> None:
        ended = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
        if ended.returncode:
            raise NotPossible(f"cannot mount a small file system: {ended.stderr.strip()}")

    def shrink(self, broker: Broker) -> None:
        """It is small from the beginning."""

    def fill(self) -> None:
        """To the last octet, with a file that `make_room` removes."""
        with (self.directory / "filling").open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))

    def make_room(self) -> None:
        (self.directory / "filling").unlink(missing_ok=True)
        self._mount("-o", "remount,size=256m", str(self.directory))

    def close(self) -> None:
        subprocess.run(["umount", "--lazy", str(self.directory)], check=True)


class FileSizeLimit:
    """RLIMIT_FSIZE on the running broker: EFBIG, after a write that came short."""

    complaint = "File too large"

    def __init__(self, directory: Path, limit_bytes: int) -> None:
        self.directory, self.limit_bytes = directory, limit_bytes
        directory.mkdir()

    def shrink(self, broker: Broker) -> None:
        resource.prlimit(broker.pid, resource.RLIMIT_FSIZE, (self.limit_bytes, resource.RLIM_INFINITY))

    def make_room(self) -> None:
        """The limit ended with the process."""

    def close(self) -> None:
        pass
