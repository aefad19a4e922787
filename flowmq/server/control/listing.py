"""Listings: which columns of which objects, in what order, and which page of them.

A view is a table of columns, each a function of the object; only what is asked for is made. Order costs as little at a
time as anything else: runs of a few thousand keys are sorted, then merged as rows are taken.
"""

import heapq
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from flowmq.broker.patterns import Pattern, PatternError
from flowmq.server.control.registry import SKIPPED, Arguments, bad_request

T = TypeVar("T")
View = Mapping[str, Callable[[Any], Any]]

RUN = 1000  # keys sorted at a time
SKIPPED_AT_A_TIME = 50


class Listing(Arguments):
    """What every listing takes. `vhosts` None is all of them."""

    vhosts: list[str] | None = None
    columns: list[str] = msgspec.field(default_factory=list)  # a.b is column a
    name: str = ""
    use_regex: bool = False
    sort: str = ""
    reverse: bool = False
    page: Annotated[int, Meta(ge=0)] = 0  # 0 is all, in one piece
    page_size: Annotated[int, Meta(ge=1)] = 100


def listed(
    items: Iterable[T], view: View, asked: Listing, name_of: Callable[[T], str]
) -> Generator[Any, None, dict[str, int]]:
    """Rows of those whose name fits; returns what a page says of itself."""
    columns = chosen(view, asked.columns)
    matches = name_filter(asked)
    counts = {"total_count": 0, "filtered_count": 0, "item_count": 0}

    def fitting() -> Iterator[Any]:
        for item in items:
            counts["total_count"] += 1
            if matches is None or matches(name_of(item)):
                counts["filtered_count"] += 1
                yield item
            elif counts["total_count"] % SKIPPED_AT_A_TIME == 0:
                yield SKIPPED

    first = (asked.page - 1) * asked.page_size if asked.page else 0
    last = first + asked.page_size if asked.page else None
    position = 0
    for item in in_order(fitting(), view, asked) if asked.sort else fitting():
        if item is SKIPPED:
            yield SKIPPED
            continue
        if first <= position and (last is None or position < last):
            counts["item_count"] += 1
            yield {name: column(item) for name, column in columns}
        elif position % SKIPPED_AT_A_TIME == 0:
            yield SKIPPED
        position += 1
    return {**counts, **page_of(asked, counts["filtered_count"])}


def page_of(asked: Listing, count: int) -> dict[str, int]:
    return {
        "page": asked.page,
        "page_size": asked.page_size,
        "page_count": max(1, -(-count // asked.page_size)),
    }


def chosen(view: View, columns: Iterable[str]) -> list[tuple[str, Callable[[Any], Any]]]:
    wanted = {name.partition(".")[0] for name in columns}
    return [(name, column) for name, column in view.items() if not wanted or name in wanted]


def name_filter(asked: Listing) -> Callable[[str], bool] | None:
    if not asked.name:
        return None
    if not asked.use_regex:
        part = asked.name.casefold()
        return lambda name: part in name.casefold()
    try:
        return Pattern(asked.name, ignore_case=True).found_in
    except PatternError as error:
        raise bad_request(f"name: no regular expression: {error}") from None


def in_order(items: Iterator[Any], view: View, asked: Listing) -> Iterator[Any]:
    column, *path = asked.sort.split(".")
    value_of = view.get(column, no_value)  # RabbitMQ has columns that are not here
    # Numbers of items, not items: so these are never compared, and the collector need not look through what is sorted.
    found: list[Any] = []  # each is let go of when it is told: all at the end would take long
    runs: list[list[tuple[int, Any, int]]] = []
    run: list[tuple[int, Any, int]] = []
    for item in items:
        if item is not SKIPPED:
            run.append((*sort_key(inside(value_of(item), path)), len(found)))
            found.append(item)
            if len(run) >= RUN:
                runs.append(sorted(run, reverse=asked.reverse))
                run = []
        yield SKIPPED
    runs.append(sorted(run, reverse=asked.reverse))
    for _, _, number in heapq.merge(*map(drained, runs), reverse=asked.reverse):
        item, found[number] = found[number], None
        yield item


def drained(run: list[T]) -> Iterator[T]:
    run.reverse()
    while run:
        yield run.pop()


def no_value(item: object) -> None:
    return None


def inside(value: Any, path: Iterable[str]) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def sort_key(value: Any) -> tuple[int, Any]:
    """Anything can be compared with anything: nothing, numbers, texts, the rest."""
    if value is None or value == "":
        return 0, 0
    if isinstance(value, int | float):
        return 1, value
    return (2, value) if isinstance(value, str) else (3, str(value))
