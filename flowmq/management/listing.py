"""Lists: query parameters to the arguments of the broker's listings, and rates into the rows that come back."""

import asyncio
import contextlib
import datetime
import logging
from collections.abc import AsyncGenerator, Callable, Iterable
from typing import Any

from aiohttp import web

from flowmq.management.sampler import LENGTHS, History
from flowmq.management.web import HEADERS, Call, Refused, encoded

PAGE_SIZE_MAX = 500
log = logging.getLogger("flowmq.management")
Details = Callable[[dict[str, Any]], None]
RATES = "_details"
LONG_LIST_SECONDS = 120.0


def arguments(call: Call) -> dict[str, Any]:
    """Of the query: what the broker is asked for."""
    columns = [column for column in call.query("columns").split(",") if column]
    asked: dict[str, Any] = {"name": call.query("name"), "use_regex": call.flag("use_regex")}
    if columns:
        asked["columns"] = [without_rates(column) for column in columns]
    if call.query("page"):
        asked["page"] = call.number("page", 1, 1)
        asked["page_size"] = call.number("page_size", 100, 1)
        if asked["page_size"] > PAGE_SIZE_MAX:
            raise Refused(400, "invalid_pagination_parameters", f"page_size: at most {PAGE_SIZE_MAX}")
    return asked


def without_rates(column: str) -> str:
    return column.partition(".")[0].removesuffix(RATES)


async def listing(call: Call, command: str, details: Details | None = None, **more: Any) -> Any:
    """A list, or a page of one, with rates."""
    asked = arguments(call)
    sort, reverse = call.query("sort"), call.flag("sort_reverse")
    sort_here = bool(sort) and needs_rates(sort)
    page = asked.get("page")
    if sort_here and page:
        del asked["page"]
    elif sort:
        asked.update(sort=sort, reverse=reverse)
    columns = call.query("columns").split(",") if call.query("columns") else None
    if not page and not sort_here:
        return await streamed(call, call.control.parts(command, **asked, **more), details, columns)
    rows, end = await call.control.listing(command, **asked, **more)
    if details is not None:
        for row in rows:
            details(row)
    if sort_here:
        path = sort.split(".")
        rows.sort(key=lambda row: comparable(inside(row, path)), reverse=reverse)
    if sort_here and page:
        size = asked["page_size"]
        end = {**end, "page": page, "page_count": max(1, -(-len(rows) // size))}
        rows = rows[(page - 1) * size : page * size]
        end["item_count"] = len(rows)
    if columns is not None:
        rows = [only(row, columns) for row in rows]
    return rows if not page else page_of(rows, end)


async def streamed(
    call: Call, parts: AsyncGenerator[list[Any], None], details: Details | None, columns: list[str] | None
) -> Any:
    """A list as it comes: a long one is never here as a whole, and only a few are under way at a time."""

    def told(rows: list[Any]) -> list[Any]:
        for row in rows if details is not None else ():
            details(row)  # type: ignore[misc]
        return rows if columns is None else [only(row, columns) for row in rows]

    async with call.management.long_lists, contextlib.aclosing(parts):
        first, second = await anext(parts, None), await anext(parts, None)
        if second is None or call.request.method == "HEAD":
            return told(first or [])
        answer = web.StreamResponse(headers={**HEADERS, "Content-Type": "application/json"})
        try:
            async with asyncio.timeout(LONG_LIST_SECONDS):
                await answer.prepare(call.request)
                await answer.write(b"[" + encoded(told(first or []))[1:-1])
                while second is not None:
                    await answer.write(b"," + encoded(told(second))[1:-1])
                    second = await anext(parts, None)
                await answer.write(b"]")
                await answer.write_eof()
        except ConnectionResetError:
            log.debug("%s: the client has gone in the midst of a list", call.request.path)
        except TimeoutError:
            # Who reads so slowly keeps others from their lists.
            if call.request.transport is not None:
                call.request.transport.abort()
        return answer


def needs_rates(sort: str) -> bool:
    return any(part.endswith(RATES) for part in sort.split("."))


def page_of(rows: list[Any], end: dict[str, int]) -> dict[str, Any]:
    names = ("total_count", "item_count", "filtered_count", "page", "page_size", "page_count")
    if end["page"] > end["page_count"]:
        raise Refused(400, "page_out_of_range", f"Page out of range, page: {end['page']} of {end['page_count']}")
    return {**{name: end[name] for name in names}, "items": rows}


def paged(call: Call, rows: list[dict[str, Any]]) -> Any:
    """A short list that is here already."""
    asked = arguments(call)
    name = asked["name"].casefold()
    found = [row for row in rows if not name or name in str(row.get("name", "")).casefold()]
    if call.query("sort"):
        path = call.query("sort").split(".")
        found.sort(key=lambda row: comparable(inside(row, path)), reverse=call.flag("sort_reverse"))
    shown = found
    if "page" in asked:
        size = asked["page_size"]
        shown = found[(asked["page"] - 1) * size : asked["page"] * size]
    if call.query("columns"):
        shown = [only(row, call.query("columns").split(",")) for row in shown]
    if "page" not in asked:
        return shown
    end = {
        "total_count": len(rows),
        "filtered_count": len(found),
        "item_count": len(shown),
        "page": asked["page"],
        "page_size": asked["page_size"],
        "page_count": max(1, -(-len(found) // asked["page_size"])),
    }
    return page_of(shown, end)


def inside(value: Any, path: Iterable[str]) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def comparable(value: Any) -> tuple[int, Any]:
    if value is None or value == "":
        return 0, 0
    if isinstance(value, int | float):
        return 1, value
    return (2, value) if isinstance(value, str) else (3, str(value))


def only(row: dict[str, Any], columns: Iterable[str]) -> dict[str, Any]:
    """These columns, of which a.b is one within another."""
    kept: dict[str, Any] = {}
    for column in columns:
        path = column.split(".")
        value = inside(row, path)
        if value is None and path[0] not in row:
            continue
        place = kept
        for name in path[:-1]:
            place = place.setdefault(name, {})
        place[path[-1]] = value
    return kept


def in_columns(call: Call, value: Any) -> Any:
    """What is no list of the broker's, such as one object, has columns to choose from, too."""
    columns = [column for column in call.query("columns").split(",") if column]
    if not columns or call.query("page"):  # the rows of a page have been cut down already
        return value
    if isinstance(value, list):
        return [only(row, columns) if isinstance(row, dict) else row for row in value]
    return only(value, columns) if isinstance(value, dict) else value


# ------------------------------------------------------------------------------------------------------------- rates


def span(call: Call, kind: str) -> tuple[float, float]:
    """How far back samples are wanted, and how far apart: msg_rates_age and msg_rates_incr, for one."""
    return call.number(f"{kind}_age"), call.number(f"{kind}_incr")


def add_stats(call: Call, row: dict[str, Any], history: History, key: Any, stats: str = "message_stats") -> None:
    """x_details beside every counter x."""
    counters = row.get(stats)
    if counters is None:
        return
    age, step = span(call, "msg_rates")
    for name in list(counters):
        counters[f"{name}{RATES}"] = history.details(key, name, age, step)


def queue_details(call: Call) -> Details:
    def add(row: dict[str, Any]) -> None:
        key = (row.get("vhost"), row.get("name"))
        history = call.sampler.queues
        add_stats(call, row, history, key)
        age, step = span(call, "lengths")
        for name in LENGTHS:
            if name in row:
                row[f"{name}{RATES}"] = history.details(key, name, age, step)
        idle_since = idle(call, key)
        if idle_since is not None:
            row["idle_since"] = idle_since
        oldest = call.sampler.oldest_ready_seconds(key)  # type: ignore[arg-type]
        if oldest is not None:
            row["oldest_ready_seconds"] = round(oldest, 3)

    return add


def idle(call: Call, key: Any) -> str | None:
    """Since when nothing has happened in a queue, as far as that was seen."""
    active_at = call.sampler.active_at.get(key, call.sampler.started_at)
    if active_at >= call.sampler.queues.tick_at:
        return None
    return datetime.datetime.fromtimestamp(active_at, datetime.UTC).isoformat(timespec="milliseconds")


def exchange_details(call: Call) -> Details:
    return lambda row: add_stats(call, row, call.sampler.exchanges, (row.get("vhost"), row.get("name")))


def channel_details(call: Call) -> Details:
    return lambda row: add_stats(call, row, call.sampler.channels, row.get("name"))


def connection_details(call: Call) -> Details:
    def add(row: dict[str, Any]) -> None:
        age, step = span(call, "data_rates")
        for name in ("recv_oct", "send_oct"):
            if name in row:
                row[f"{name}{RATES}"] = call.sampler.connections.details(row.get("name"), name, age, step)

    return add


def deliveries(call: Call, consumers: list[dict[str, Any]], by: str) -> list[dict[str, Any]]:
    """What consumers have been sent, added up for each channel or queue that they have."""
    found: dict[str, dict[str, Any]] = {}
    for consumer in consumers:
        kind = "deliver" if consumer["ack_required"] else "deliver_no_ack"
        rate = call.sampler.consumers.rate((consumer["channel_details"]["name"], consumer["consumer_tag"]), "deliver")
        stats = found.setdefault(consumer[by]["name"], {by: consumer[by], "stats": {}})["stats"]
        for name in (kind, "deliver_get"):
            stats[name] = stats.get(name, 0) + consumer["delivered"]
            stats[f"{name}{RATES}"] = {"rate": stats.get(f"{name}{RATES}", {"rate": 0.0})["rate"] + rate}
    return list(found.values())
