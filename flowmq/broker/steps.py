"""Work that is done step by step, so that nobody has to wait for the whole of it; a little of it is done at once."""

import logging
from collections.abc import Callable, Iterator
from typing import ParamSpec

AT_ONCE_STEPS = 8
Given = ParamSpec("Given")
log = logging.getLogger("flowmq")


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


def attempt(where: str, act: Callable[Given, object], *given: Given.args, **named: Given.kwargs) -> None:
    """An error of ours about one of many: all others have their turn all the same."""
    try:
        act(*given, **named)
    except Exception as error:
        log.error("%s: internal error", where, exc_info=error)
