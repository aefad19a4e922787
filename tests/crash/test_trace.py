"""The reader of traces and the check made with it: an early confirm is found, in whatever way the calls interleave."""

import pytest

from tests.crash.test_write_order import check_confirms, confirms, durable_from
from tests.crash.trace import Call, parse
from tests.support import codec

FILE, SOCKET = "7</data/journal/1.segment>", "9<socket:[1]>"
BODIES = {1: b"first", 2: b"second"}


def hexadecimal(octets: bytes) -> str:
    return '"' + "".join(f"\\x{octet:02x}" for octet in octets) + '"'


def ack(tag: int, *, multiple: bool = False) -> bytes:
    return codec.method_frame(1, "basic.ack", delivery_tag=tag, multiple=multiple)


def line(thread: int, moment: float, call: str, target: str, data: bytes | None = None, seconds: float = 0.001) -> str:
    arguments = f", {hexadecimal(data)}, {len(data)}" if data is not None else ""
    return f"{thread} {moment:.6f} {call}({target}{arguments}) = 0 <{seconds:.6f}>"


WRITE = line(2, 1.0, "pwrite64", FILE, b"head first second tail")
SYNC = line(2, 1.1, "fdatasync", FILE, seconds=0.1)
CONFIRM = line(1, 1.3, "write", SOCKET, ack(2, multiple=True))


def verdict(*lines: str) -> None:
    check_confirms(list(parse("\n".join(lines))), BODIES)


def test_confirm_behind_the_sync_is_right() -> None:
    verdict(WRITE, SYNC, CONFIRM)


EARLY = {
    "no sync at all": (WRITE, CONFIRM),
    "sync before the write": (line(2, 0.5, "fdatasync", FILE), WRITE, CONFIRM),
    "sync of another file": (WRITE, line(2, 1.1, "fdatasync", "8</data/other>"), CONFIRM),
    "sync not over": (WRITE, line(2, 1.1, "fdatasync", FILE, seconds=0.3), CONFIRM),
    "sync begun before the write was over": (
        line(2, 1.0, "pwrite64", FILE, b"first second", seconds=0.15),
        SYNC,
        CONFIRM,
    ),
    "failed sync": (WRITE, f"2 1.100000 fdatasync({FILE}) = -1 EIO (Input/output error) <0.100000>", CONFIRM),
    "one of two not written": (line(2, 1.0, "pwrite64", FILE, b"first"), SYNC, CONFIRM),
}


@pytest.mark.parametrize("lines", EARLY.values(), ids=EARLY)
def test_early_confirm_is_found(lines: tuple[str, ...]) -> None:
    with pytest.raises(AssertionError, match="before its sync was over"):
        verdict(*lines)


def test_confirm_that_the_trace_does_not_show_is_missed() -> None:
    with pytest.raises(AssertionError, match="does not show every confirm"):
        verdict(WRITE, SYNC, line(1, 1.3, "write", SOCKET, ack(1)))


def test_interrupted_lines_are_put_together() -> None:
    text = "\n".join(
        [
            f"2 1.000000 pwrite64({FILE}, {hexadecimal(b'first second')}, 12, 64 <unfinished ...>",
            f"1 1.010000 write({SOCKET}, {hexadecimal(b'x')}, 1) = 1 <0.000010>",
            "2 1.050000 <... pwrite64 resumed>) = 12 <0.050000>",
            f"2 1.100000 fdatasync({FILE} <unfinished ...>",
            "2 1.200000 <... fdatasync resumed>) = 0 <0.100000>",
        ]
    )
    write, _, sync = parse(text)
    assert (write.name, write.target, write.data, write.result) == (
        "pwrite64",
        "/data/journal/1.segment",
        b"first second",
        12,
    )
    assert write.ended == pytest.approx(1.05)
    assert sync.is_sync
    assert durable_from([write, sync], b"first") == pytest.approx(1.2)


def test_each_confirm_counts_once() -> None:
    data = ack(1) + ack(3, multiple=True) + ack(4)
    call = Call("write", "socket:[1]", data, 1.0)
    assert [number for _, numbers in confirms([call]) for number in numbers] == [1, 2, 3, 4]
