"""DATA_DIR: which files stand where, who uses the directory, and whether it is ours at all.

Names and paths only, and the durability of names: what stands inside a segment is the business of the journal. The
broker holds LOCK for as long as it runs; what only looks does not take it.
"""

import contextlib
import fcntl
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Self

FORMAT_VERSION = 1
FORMAT_TEXT = f"FlowMQ data directory, format {FORMAT_VERSION}\n"
FORMAT_PATTERN = re.compile(r"FlowMQ data directory, format (\d{1,9})\n")
SEGMENT_PATTERN = re.compile(r"([0-9a-f]{16})\.segment")
SPARE_PATTERN = re.compile(r"spare-([0-9a-f]{1,16})\.segment")
FORMAT_NAME, FORMAT_NAME_NEW, LOCK_NAME, JOURNAL_NAME = "FORMAT", "FORMAT.new", "LOCK", "journal"
# What may stand in a directory that is still to become ours: a file system's own, and what an interrupted start left.
HARMLESS_NAMES = {"lost+found", FORMAT_NAME_NEW, LOCK_NAME}


class StorageError(Exception):
    """The data directory cannot be used; the message is one line for the operator."""


class NumberedFile(NamedTuple):
    number: int
    path: Path


class DataDir:
    """An existing data directory of this format."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.journal = path / JOURNAL_NAME
        self._lock: int | None = None

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """One that must exist; changes nothing in it."""
        directory = cls(Path(path))
        with storage_errors(directory.path):
            if not directory.path.is_dir():
                raise StorageError(f"{directory.path}: no such directory")
            if not directory.is_ours():
                raise StorageError(f"{directory.path}: not a FlowMQ data directory: it has no file {FORMAT_NAME}")
        return directory

    @classmethod
    def open_or_create(cls, path: str | os.PathLike[str]) -> Self:
        """Also makes one of a directory that does not exist or is empty. Takes the lock."""
        directory = cls(Path(path))
        with storage_errors(directory.path):
            if not directory.path.is_dir():
                make_directory(directory.path)
            ours = directory.is_ours()
            directory.lock()
            try:
                if not ours:
                    directory.write_format()
                if not directory.journal.is_dir():
                    make_directory(directory.journal)
            except BaseException:
                directory.close()
                raise
        return directory

    def is_ours(self) -> bool:
        """False when it is empty. Raises when it is of another format, or anything else than a data directory."""
        try:
            text = (self.path / FORMAT_NAME).read_bytes().decode("ascii", "replace")
        except FileNotFoundError:
            return self._is_not_foreign()
        found = FORMAT_PATTERN.fullmatch(text)
        if found is None:
            raise StorageError(f"{self.path / FORMAT_NAME}: does not say that this is a FlowMQ data directory")
        if int(found[1]) != FORMAT_VERSION:
            raise StorageError(
                f"{self.path}: has format {int(found[1])}, and this version of FlowMQ reads format {FORMAT_VERSION}"
            )
        return True

    def _is_not_foreign(self) -> bool:
        foreign = sorted(set(os.listdir(self.path)) - HARMLESS_NAMES)
        if foreign:
            raise StorageError(
                f"{self.path}: not a FlowMQ data directory, and not empty: it has {foreign[0]!r} but no {FORMAT_NAME}"
            )
        return False

    def write_format(self) -> None:
        new = self.path / FORMAT_NAME_NEW
        write_file(new, FORMAT_TEXT.encode())
        os.rename(new, self.path / FORMAT_NAME)
        sync_directory(self.path)

    # ------------------------------------------------------------------------------------------------ who uses it

    def lock(self) -> None:
        """Until close(). The operating system lifts it when the process ends, however it ends."""
        with storage_errors(self.path):
            descriptor = os.open(self.path / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = read_holder(descriptor)
            os.close(descriptor)
            raise StorageError(f"{self.path}: in use by process {holder}") from None
        except BaseException:
            os.close(descriptor)
            raise
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._lock = descriptor

    def in_use_by(self) -> str | None:
        """The process id of the broker that uses it, as text; None when none does.

        Writes nothing, but holds the lock together with others for an instant: a broker that starts in it is refused.
        """
        try:
            descriptor = os.open(self.path / LOCK_NAME, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return read_holder(descriptor)
        finally:
            os.close(descriptor)
        return None

    def close(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # ------------------------------------------------------------------------------------------- what stands in it

    def segments(self) -> list[NumberedFile]:
        """In the order in which they are read."""
        return self._numbered(SEGMENT_PATTERN)

    def spares(self) -> list[NumberedFile]:
        return self._numbered(SPARE_PATTERN)

    def segment_path(self, number: int) -> Path:
        return self.journal / segment_name(number)

    def spare_path(self, number: int) -> Path:
        return self.journal / f"spare-{number:x}.segment"

    def sync_journal(self) -> None:
        """Makes the names in journal/ last."""
        sync_directory(self.journal)

    def _numbered(self, pattern: re.Pattern[str]) -> list[NumberedFile]:
        try:
            names = os.listdir(self.journal)
        except FileNotFoundError:
            return []
        found = ((pattern.fullmatch(name), name) for name in names)
        return sorted(NumberedFile(int(match[1], 16), self.journal / name) for match, name in found if match)


def segment_name(number: int) -> str:
    return f"{number:016x}.segment"


def read_holder(descriptor: int) -> str:
    """Who holds the lock; "?" in the moment before it has written its number."""
    return os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "?"


def make_directory(path: Path) -> None:
    if not path.parent.is_dir():
        make_directory(path.parent)
    path.mkdir(exist_ok=True)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_file(path: Path, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """What the operating system refuses is one line for the operator too."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"{error.filename or path}: {error.strerror}") from error
