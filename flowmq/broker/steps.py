"""Work that is done step by step, so that nobody has to wait for the whole of it; a little of it is done at once."""

from collections.abc import Callable, Iterator

AT_ONCE_STEPS = 8


def all_at_once(work: Iterator[None]) -> None:
    """For a broker without a server: there is nobody who would wait."""
    for _ in work:
        pass


def begin_at_once(work: Iterator[None], begin: Callable[[Iterator[None]], None]) -> None:
    """The first few steps now; what goes beyond them is begun."""
    for _ in range(AT_ONCE_STEPS):
        if next(work, work) is work:
            return
    begin(work)
