"""The commit thread: what it writes, when it syncs, what it reports, and that the first failure is the last.

Nothing here waits for time to pass: a hold keeps a sync from ending, and a trace that goes to a pipe says when the
thread has written a batch and is therefore in that sync.
"""

import errno
import gc
import os
import random
import select
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from flowmq._commit import CommitThread

TRACE_WRITE, TRACE_SYNC, TRACE_DONE = 1, 2, 3
TRACE_ENTRY = struct.Struct("<IiQqQ")
SEEDS = range(40)


class Entry(NamedTuple):
    kind: int
    fd: int
    inode: int
    offset: int
    octets: bytes


@pytest.fixture
def files(tmp_path: Path) -> Iterator[list[int]]:
    fds = [os.open(tmp_path / f"file-{number}", os.O_RDWR | os.O_CREAT) for number in range(3)]
    yield fds
    for fd in fds:
        os.close(fd)


@pytest.fixture
def thread(files: list[int]) -> Iterator[CommitThread]:
    """Closed before the files are: a batch's descriptor stays open until it comes back."""
    thread = CommitThread()
    yield thread
    thread.close()


@pytest.fixture
def fd(files: list[int]) -> int:
    return files[0]


@pytest.fixture
def written(thread: CommitThread, tmp_path: Path) -> Iterator["Pipe"]:
    pipe = Pipe(tmp_path / "trace")
    thread.record_to(pipe.path)
    yield pipe
    # Its end is read to last: a full pipe would hold the thread up.
    pipe.drain_until_closed(thread)


class Pipe:
    """A trace as it is written."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = path
        self.fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        os.set_blocking(self.fd, True)
        self.file = os.fdopen(self.fd, "rb")

    def wait_for_write(self) -> Entry:
        entry = next(entries(self.file))
        assert entry.kind == TRACE_WRITE
        return entry

    def drain_until_closed(self, thread: CommitThread) -> None:
        closing = threading.Thread(target=thread.close)
        closing.start()
        self.file.read()
        closing.join()
        self.file.close()


def entries(file) -> Iterator[Entry]:
    while head := file.read(TRACE_ENTRY.size):
        kind, fd, inode, offset, size = TRACE_ENTRY.unpack(head)
        yield Entry(kind, fd, inode, offset, file.read(size))


def trace_of(path: Path) -> list[Entry]:
    with path.open("rb") as file:
        return list(entries(file))


def content(fd: int) -> bytes:
    return os.pread(fd, 1 << 20, 0)


def finished(thread: CommitThread) -> list[tuple[int, bool]]:
    return list(iter(thread._take_finished, None))


def is_readable(fd: int) -> bool:
    return bool(select.select([fd], [], [], 0)[0])


# ------------------------------------------------------------------------------------------------- it goes well


def test_a_batch_is_written_at_its_offset_and_synced(thread: CommitThread, fd: int) -> None:
    thread._submit(1, fd, 5, b"octets", True)
    assert thread.wait(1)
    assert content(fd) == bytes(5) + b"octets"
    assert thread.progress() == (1, 0)
    assert (thread.writes, thread.syncs, thread.bytes_written) == (1, 1, 6)


def test_batches_come_back_in_order_and_complete(thread: CommitThread, fd: int) -> None:
    assert finished(thread) == []
    for number in (1, 2, 7):
        thread._submit(number, fd, number, b"x", number == 2)
    assert thread.wait(7)
    assert finished(thread) == [(1, True), (2, True), (7, True)]
    assert finished(thread) == []


@pytest.mark.parametrize(("kept", "left"), [(1, 1), (3, 3), (10, 10), (11, 10)])
def test_of_those_that_came_back_some_are_kept(thread: CommitThread, fd: int, kept: int, left: int) -> None:
    for number in range(1, 11):
        thread._submit(number, fd, number, b"x", False)
    assert thread.wait(10)
    thread._drop_finished(kept)
    thread._submit(11, fd, 11, b"x", False)  # behind the last that was kept
    assert thread.wait(11)
    taken = []
    while (finished := thread._take_finished()) is not None:
        taken.append(finished[0])
    assert taken == [*range(1, left + 1), 11]


def test_what_gathers_during_a_sync_shares_the_next_one(thread: CommitThread, fd: int, written: Pipe) -> None:
    thread._hold(True)
    thread._submit(1, fd, 0, b"0", True)
    written.wait_for_write()
    for number in range(2, 501):
        thread._submit(number, fd, number, b"x", True)
    thread._hold(False)
    assert thread.wait(500)
    assert (thread.writes, thread.syncs) == (500, 2)


def test_each_descriptor_is_synced_once(thread: CommitThread, files: list[int], written: Pipe) -> None:
    thread._hold(True)
    thread._submit(1, files[0], 0, b"0", True)
    written.wait_for_write()
    for number in range(2, 20):
        thread._submit(number, files[number % 3], number, b"x", number % 3 != 2)
    thread._hold(False)
    assert thread.wait(19)
    assert thread.syncs == 1 + 2  # files[2] never asked
    assert [len(content(fd)) for fd in files] == [19, 20, 18]


def test_a_batch_that_asks_for_no_sync_causes_none(thread: CommitThread, fd: int) -> None:
    thread._submit(1, fd, 0, b"octets", False)
    assert thread.wait(1)
    assert (thread.writes, thread.syncs) == (1, 0)


def test_nothing_is_done_before_its_sync_has_ended(thread: CommitThread, fd: int, written: Pipe) -> None:
    thread._hold(True)
    thread._submit(1, fd, 0, b"octets", True)
    assert written.wait_for_write().octets == b"octets"
    assert thread.progress() == (0, 0)
    assert not is_readable(thread.wake_fd)
    assert finished(thread) == []
    thread._hold(False)
    assert thread.wait(1)


def test_an_empty_batch_is_a_sync_and_no_more(thread: CommitThread, fd: int) -> None:
    thread._submit(1, fd, 0, b"", True)
    assert thread.wait(1)
    assert (content(fd), thread.syncs) == (b"", 1)


def test_wake_fd_tells_of_a_change_until_it_is_acknowledged(thread: CommitThread, fd: int) -> None:
    for number in (1, 2):
        thread._submit(number, fd, 0, b"x", True)
        assert select.select([thread.wake_fd], [], [], 30)[0]
        assert thread.progress() == (number, 0)
        thread._acknowledge()
        assert not is_readable(thread.wake_fd)
    thread._acknowledge()  # nothing to read is no failure


def test_waiting_lets_other_threads_run(thread: CommitThread, fd: int, written: Pipe) -> None:
    thread._hold(True)
    thread._submit(1, fd, 0, b"x", True)
    written.wait_for_write()
    lifting = threading.Thread(target=thread._hold, args=(False,))
    lifting.start()
    assert thread.wait(1)
    lifting.join()


def test_every_sync_stands_in_the_histogram(thread: CommitThread, fd: int) -> None:
    for number in range(1, 6):
        thread._submit(number, fd, 0, b"x", True)
        assert thread.wait(number)
    assert len(thread.sync_histogram) == 16
    assert sum(thread.sync_histogram) == thread.syncs == 5
    last = thread.last_sync_us
    bucket = min(max(last.bit_length() - 6, 0), 15)
    assert thread.sync_histogram[bucket] > 0


def test_the_thread_takes_no_signals(thread: CommitThread) -> None:
    [status] = [
        (task / "status").read_text()
        for task in Path("/proc/self/task").iterdir()
        if (task / "comm").read_text() == "flowmq-commit\n"
    ]
    [blocked] = [int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigBlk")]
    never_blocked = {9, 19, 32, 33}  # KILL, STOP, and the C library's own two
    assert {number for number in range(1, 65) if not blocked >> (number - 1) & 1} <= never_blocked


# --------------------------------------------------------------------------------------------------- it goes wrong


@pytest.mark.parametrize("size", [1, 2, 1000])
def test_a_short_write_is_completed(thread: CommitThread, fd: int, size: int) -> None:
    octets = random.Random(size).randbytes(size)
    thread._inject("short", 0, 0)
    thread._submit(1, fd, 3, octets, True)
    assert thread.wait(1)
    assert content(fd) == bytes(3) + octets
    assert thread.bytes_written == size


def test_an_interrupted_write_is_tried_again(thread: CommitThread, fd: int) -> None:
    thread._inject("write", 0, errno.EINTR)
    thread._submit(1, fd, 0, b"octets", True)
    assert thread.wait(1)
    assert content(fd) == b"octets"


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
def test_a_failed_write_is_the_last(thread: CommitThread, fd: int, error: int) -> None:
    thread._inject("write", 1, error)
    thread._submit(1, fd, 0, b"good", True)
    assert thread.wait(1)
    thread._submit(2, fd, 4, b"fails", True)
    assert not thread.wait(2)
    thread._submit(3, fd, 9, b"after", True)
    thread.close()
    assert thread.progress() == (1, error)
    assert content(fd) == b"good"
    assert finished(thread) == [(1, True), (2, False), (3, False)]
    assert (thread.writes, thread.syncs) == (1, 1)


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC, errno.EINTR])
def test_a_failed_sync_is_the_last_though_another_would_go_well(thread: CommitThread, fd: int, error: int) -> None:
    thread._inject("sync", 0, error)
    thread._submit(1, fd, 0, b"lost?", True)
    assert not thread.wait(1)
    thread._submit(2, fd, 5, b"after", True)
    thread.close()
    assert thread.progress() == (0, error)
    assert content(fd) == b"lost?"
    assert finished(thread) == [(1, False), (2, False)]
    assert thread.syncs == 0


def test_a_failure_is_told_once_through_wake_fd(thread: CommitThread, fd: int) -> None:
    thread._inject("sync", 0, errno.EIO)
    thread._submit(1, fd, 0, b"x", True)
    assert select.select([thread.wake_fd], [], [], 30)[0]
    assert thread.progress() == (0, errno.EIO)
    thread._acknowledge()
    assert not is_readable(thread.wake_fd)


def test_what_needs_no_sync_is_done_though_the_next_write_fails(thread: CommitThread, fd: int, written: Pipe) -> None:
    thread._inject("write", 3, errno.EIO)
    thread._hold(True)
    thread._submit(1, fd, 0, b"1", True)
    written.wait_for_write()
    for number, sync in [(2, False), (3, True), (4, True), (5, False)]:
        thread._submit(number, fd, number, b"x", sync)
    thread._hold(False)
    assert not thread.wait(5)
    assert thread.progress() == (2, errno.EIO)
    assert finished(thread) == [(1, True), (2, True), (3, False), (4, False), (5, False)]


def test_what_was_synced_before_another_descriptor_failed_is_done(
    thread: CommitThread, files: list[int], written: Pipe
) -> None:
    thread._inject("sync", 2, errno.EIO)
    thread._hold(True)
    thread._submit(1, files[2], 0, b"1", True)
    written.wait_for_write()
    for number, place in [(2, 0), (3, 0), (4, 1), (5, 0)]:
        thread._submit(number, files[place], number, b"x", True)
    thread._hold(False)
    assert not thread.wait(5)
    assert thread.progress() == (3, errno.EIO)
    # The last one is on disk, but not all before it.
    assert finished(thread) == [(1, True), (2, True), (3, True), (4, False), (5, True)]


def test_a_full_device_is_told(thread: CommitThread) -> None:
    fd = os.open("/dev/full", os.O_WRONLY)
    thread._submit(1, fd, 0, b"octets", True)
    assert not thread.wait(1)
    os.close(fd)
    assert thread.progress() == (0, errno.ENOSPC)


def test_a_descriptor_that_cannot_be_synced_is_told(thread: CommitThread) -> None:
    fd = os.open("/dev/null", os.O_WRONLY)
    thread._submit(1, fd, 0, b"octets", True)
    assert not thread.wait(1)
    os.close(fd)
    assert thread.progress() == (0, errno.EINVAL)


BEYOND_THE_LIMIT = """
import errno, os, resource, signal, sys
from flowmq._commit import CommitThread

signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # would end the process, did the thread not block it
resource.setrlimit(resource.RLIMIT_FSIZE, (8, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
thread = CommitThread()
thread._submit(1, fd, 0, b"within", True)
assert thread.wait(1)
thread._submit(2, fd, 6, b"beyond", True)
assert not thread.wait(2)
assert thread.progress() == (1, errno.EFBIG), thread.progress()
thread.close()
assert os.pread(fd, 20, 0) == b"withinbe"
"""


def test_a_file_size_limit_is_a_failure_and_no_signal(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", BEYOND_THE_LIMIT, tmp_path / "file"], check=True, timeout=30)


# ------------------------------------------------------------------------------------------------- its beginning, end


def test_closing_finishes_what_waits(fd: int) -> None:
    thread = CommitThread()
    thread._hold(True)  # lifted by close()
    for number in range(1, 101):
        thread._submit(number, fd, number - 1, b"x", True)
    thread.close()
    assert content(fd) == b"x" * 100
    assert thread.progress() == (100, 0)
    assert len(finished(thread)) == 100


def test_a_closed_thread_is_gone_and_takes_nothing(fd: int) -> None:
    descriptors, tasks = len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))
    thread = CommitThread()
    assert len(os.listdir("/proc/self/task")) == tasks + 1
    thread.close()
    thread.close()
    assert thread.wake_fd == -1
    assert len(os.listdir("/proc/self/task")) == tasks
    assert len(os.listdir("/proc/self/fd")) == descriptors
    with pytest.raises(ValueError, match="closed"):
        thread._submit(1, fd, 0, b"x", True)


def test_a_thread_that_is_dropped_ends_too(fd: int) -> None:
    descriptors, tasks = len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))
    thread = CommitThread()
    thread._submit(1, fd, 0, b"octets", True)
    del thread
    gc.collect()
    assert content(fd) == b"octets"
    assert len(os.listdir("/proc/self/task")) == tasks
    assert len(os.listdir("/proc/self/fd")) == descriptors


@pytest.mark.parametrize("number", [0, 4, 5])
def test_batch_numbers_ascend(thread: CommitThread, fd: int, number: int) -> None:
    thread._submit(5, fd, 0, b"x", False)
    with pytest.raises(ValueError, match=f"batch {number} after batch 5"):
        thread._submit(number, fd, 0, b"x", False)


def test_nobody_waits_for_what_was_never_handed_over(thread: CommitThread) -> None:
    with pytest.raises(ValueError, match="batch 1; the last one is 0"):
        thread.wait(1)


# ------------------------------------------------------------------------------------------------------ the trace


def test_a_trace_tells_writes_syncs_and_reports_in_order(thread: CommitThread, fd: int, tmp_path: Path) -> None:
    thread.record_to(tmp_path / "trace")
    thread._inject("short", 0, 0)
    thread._submit(3, fd, 8, b"octets", True)
    thread.close()
    inode = os.fstat(fd).st_ino
    assert trace_of(tmp_path / "trace") == [
        Entry(TRACE_WRITE, fd, inode, 8, b"oct"),
        Entry(TRACE_WRITE, fd, inode, 11, b"ets"),
        Entry(TRACE_SYNC, fd, inode, 0, b""),
        Entry(TRACE_DONE, -1, 0, 3, b""),
    ]


def test_a_trace_that_cannot_be_written_is_a_failure(thread: CommitThread, fd: int) -> None:
    thread.record_to("/dev/full")
    thread._submit(1, fd, 0, b"x", True)
    assert not thread.wait(1)
    assert thread.progress() == (0, errno.ENOSPC)


def test_a_trace_begins_once_and_before_the_first_batch(thread: CommitThread, fd: int, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        thread.record_to(tmp_path / "nowhere" / "trace")
    thread._submit(1, fd, 0, b"x", False)
    with pytest.raises(ValueError, match="before the first batch"):
        thread.record_to(tmp_path / "trace")


# ------------------------------------------------------------------------------------------------ any history


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_fails_what_is_done_was_written_and_synced(seed: int, files: list[int], tmp_path: Path) -> None:
    chance = random.Random(seed)
    thread = CommitThread()
    thread.record_to(tmp_path / "trace")
    thread._inject(chance.choice(["write", "sync", "short"]), chance.randrange(60), errno.EIO)
    batches = {number: (chance.choice(files), chance.random() < 0.5) for number in range(1, 51)}
    for number, (fd, sync) in batches.items():
        thread._submit(number, fd, number * 4, number.to_bytes(4, "big"), sync)
        if chance.random() < 0.3:
            thread.wait(number)
    thread.close()
    outcome = finished(thread)
    assert [number for number, _ in outcome] == list(batches)
    assert {number for number, complete in outcome if complete} == secured(trace_of(tmp_path / "trace"), batches)
    done, error = thread.progress()
    assert done == leading(outcome)
    assert (done == 50) == (error == 0)


def secured(trace: list[Entry], batches: dict[int, tuple[int, bool]]) -> set[int]:
    """Which batches the trace shows as written, and as synced behind that where they ask for it."""
    octets: dict[int, bytes] = {}
    synced: set[int] = set()
    for entry in trace:
        if entry.kind == TRACE_WRITE:
            number = entry.offset // 4
            octets[number] = octets.get(number, b"") + entry.octets
        elif entry.kind == TRACE_SYNC:
            synced |= {number for number in octets if batches[number][0] == entry.fd}
    whole = {number for number, text in octets.items() if text == number.to_bytes(4, "big")}
    return {number for number in whole if number in synced or not batches[number][1]}


def leading(outcome: list[tuple[int, bool]]) -> int:
    done = 0
    for number, complete in outcome:
        if not complete:
            break
        done = number
    return done
