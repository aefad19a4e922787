"""flowmq inspect: what stands in a journal, as text or as JSON, without a broker.

Only reads, and takes no lock: of a directory in use it shows what was on disk a moment ago, and says that it is in use.
Names of queues are taken from the definitions; records are shown as docs/format.md describes them.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgpack

from flowmq._checksum import crc32c
from flowmq._replay import CorruptJournal, Replay
from flowmq._replay_segment import read_header
from flowmq.broker.amqp_uri import masked
from flowmq.storage.layout import DataDir, StorageError

RECORD_HEAD = struct.Struct("<IIB3x")
DEFINITIONS_TYPE, SUMMARY_TYPE = 8, 10
SHOWN_OCTETS_MAX = 64
HIDDEN = "********"


class Layout(NamedTuple):
    """The fixed part of a record's payload."""

    name: str
    form: struct.Struct
    fields: tuple[str, ...]


TARGET_FIELDS = ("queue_id", "delivery_count", "sequence", "expires_at_ms", "flags")
LAYOUTS = {
    0: Layout("nothing", struct.Struct(""), ()),
    1: Layout("message", struct.Struct("<IIQQB3xII4xQ"), (*TARGET_FIELDS, "names_bytes", "header_bytes", "body_bytes")),
    2: Layout("target", struct.Struct("<IIQQB3x4xQ"), (*TARGET_FIELDS, "message_offset")),
    3: Layout("settled", struct.Struct("<I4xQQ"), ("queue_id", "first", "last")),
    4: Layout("delivered", struct.Struct("<I4xQ"), ("queue_id", "up_to")),
    5: Layout("returned", struct.Struct("<IIQ"), ("queue_id", "delivery_count", "sequence")),
    6: Layout("queue state", struct.Struct("<IIQQ"), ("queue_id", "ranges", "next_sequence", "delivered_up_to")),
    7: Layout("definition", struct.Struct(""), ()),
    8: Layout("definitions", struct.Struct(""), ()),
    9: Layout("queue gone", struct.Struct("<I4x"), ("queue_id",)),
    10: Layout("summary", struct.Struct(""), ()),
    11: Layout("aside", struct.Struct("<IIQQ"), ("queue_id", "delivery_count", "sequence", "ready_at_ms")),
}


# ---------------------------------------------------------------------------------------------------- the whole journal


def read_journal(directory: DataDir, *, skip_corrupt: bool = False) -> Replay:
    """As a start does, or every octet, and on behind what does not check."""
    replay = Replay()
    try:
        replay.read(directory.segments(), skip_corrupt=skip_corrupt, trust=not skip_corrupt)
    except OSError as error:
        raise StorageError(f"{error.filename or directory.journal}: {error.strerror}") from error
    return replay


class QueueName(NamedTuple):
    vhost: str | None = None
    name: str | None = None
    part: str | None = None  # of a queue with priorities which one; of an exchange or a queue what it remembers


def overview(directory: DataDir, replay: Replay) -> dict[str, Any]:
    """What there is, in values that JSON has."""
    definitions, complaints = decoded_definitions(replay)
    return {
        "data_dir": str(directory.path),
        "in_use_by": directory.in_use_by(),
        "end": {"segment": replay.end_segment, "offset": replay.end_offset, "batch": replay.batch_number},
        "cut_octets": replay.cut_octets,
        "abandoned": [str(path) for path in replay.abandoned],
        "segments": [segment_summary(segment) for segment in replay.segments()],
        "spares": [file.path.name for file in directory.spares()],
        "definitions": definitions,
        "queues": queue_summaries(replay, queue_names(definitions)),
        "faults": [gap._asdict() for gap in replay.skipped] + complaints,
    }


def segment_summary(segment: Any) -> dict[str, Any]:
    summary: dict[str, Any] = segment._asdict()
    return {**summary, "dead_octets": segment.record_octets - segment.live_octets}


def queue_summaries(replay: Replay, names: dict[int, QueueName]) -> list[dict[str, Any]]:
    return [
        {
            "id": queue_id,
            **names.get(queue_id, QueueName())._asdict(),
            "gone": queue.gone,
            "messages": queue.count,
            "body_bytes": queue.body_bytes,
            "next_sequence": queue.next_sequence,
            "delivered_up_to": queue.delivered_up_to,
            "settled_ranges": queue.settled.count,
        }
        for queue_id, queue in sorted(replay.queues().items())
    ]


def queue_messages(replay: Replay, queue: dict[str, Any]) -> list[dict[str, Any]]:
    return [message._asdict() for message in replay.messages(queue["id"])]


def find_queue(queues: list[dict[str, Any]], wanted: str) -> dict[str, Any]:
    """By name before by id, since a name may look like a number."""
    found = [queue for queue in queues if queue["name"] == wanted]
    found = found or [queue for queue in queues if str(queue["id"]) == wanted]
    if not found:
        raise StorageError(f"no queue has the name or the id {wanted!r}")
    if len(found) > 1:
        places = ", ".join(f"id {queue['id']} in vhost {queue['vhost']!r}{part_of(queue)}" for queue in found)
        raise StorageError(f"several queues have the name {wanted!r}: {places}")
    return found[0]


# ---------------------------------------------------------------------------------------------------- the definitions


def decoded_definitions(replay: Replay) -> tuple[list[Any], list[dict[str, Any]]]:
    """[kind, name, value] each, deletions and replaced values applied; and what cannot be decoded."""
    current: dict[Any, Any] = {}
    bindings_of: dict[Any, set[Any]] = {}
    complaints = []
    for kind, payload in replay.definitions():
        try:
            for change in definition_changes(kind, payload):
                apply_change(current, bindings_of, change)
        except (ValueError, TypeError) as error:
            complaints.append({"what": "definition", "octets": len(payload), "reason": str(error)})
    return [readable(change) for change in current.values()], complaints


def definition_changes(kind: int, payload: bytes) -> list[Any]:
    try:
        value = msgpack.unpackb(payload, strict_map_key=False, unicode_errors="surrogateescape")
    except Exception as error:  # msgpack raises a family of its own, and ValueError
        raise ValueError(f"not MessagePack: {error}") from error
    changes = value if kind == DEFINITIONS_TYPE else [value]
    if not isinstance(changes, list) or not all(isinstance(each, list) and len(each) == 3 for each in changes):
        raise ValueError("not [kind, name, value]")
    return changes


def apply_change(current: dict[Any, Any], bindings_of: dict[Any, set[Any]], change: list[Any]) -> None:
    """A queue or exchange that goes takes its bindings with it."""
    kind, name, value = change
    key = (repr(kind), repr(name))
    if value is not None:
        current[key] = change
        if kind == "binding" and isinstance(name, list) and len(name) == 6:
            vhost, source, destination_kind, destination = name[:4]
            for end in (["exchange", [vhost, source]], [destination_kind, [vhost, destination]]):
                bindings_of.setdefault((repr(end[0]), repr(end[1])), set()).add(key)
    else:
        current.pop(key, None)
        for binding in bindings_of.pop(key, ()):
            current.pop(binding, None)


def queue_names(definitions: list[Any]) -> dict[int, QueueName]:
    """By id, as the definitions tell them."""
    names = {}
    for kind, name, value in definitions:
        if not isinstance(name, list) or not isinstance(value, dict) or "id" not in value:
            continue
        if kind == "queue" and len(name) == 2:
            lanes = value.get("lanes")
            for level in range(lanes or 1):
                part = None if lanes is None else f"priority {level}"
                names[value["id"] + level] = QueueName(name[0], name[1], part)
        elif kind == "memory" and len(name) == 4:
            vhost, owner_kind, owner, purpose = name
            names[value["id"]] = QueueName(vhost, owner, f"{purpose} of this {owner_kind}")
    return names


def part_of(queue: dict[str, Any]) -> str:
    return "" if queue["part"] is None else f", {queue['part']}"


def readable(value: Any) -> Any:
    """The same without octets: names are text nearly always, and what is not text is shown as escapes.

    Hashes of passwords, and the passwords in URIs of shovels, are not for everybody who gets to see this.
    """
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, list):
        return [readable(each) for each in value]
    if isinstance(value, dict):
        return {readable(key): HIDDEN if key == "password" else readable(each) for key, each in value.items()}
    return value


# --------------------------------------------------------------------------------------------------------- one record


def record_at(directory: DataDir, number: int, offset: int) -> dict[str, Any]:
    """One record decoded. Its checksum is the judge of whether a record stands there at all."""
    path = directory.segment_path(number)
    try:
        header = read_header(number, path)
        with open(path, "rb") as file:
            return decode_record(path, offset, header.seed, file_octets(file, offset))
    except FileNotFoundError:
        raise StorageError(f"{path}: there is no such segment") from None
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from error


def file_octets(file: Any, offset: int) -> bytes:
    file.seek(offset)
    head: bytes = file.read(RECORD_HEAD.size)
    if len(head) < RECORD_HEAD.size:
        return head
    size: int = RECORD_HEAD.unpack(head)[0]
    payload: bytes = file.read(size)
    return head + payload


def decode_record(path: Path, offset: int, seed: int, octets: bytes) -> dict[str, Any]:
    if len(octets) < RECORD_HEAD.size:
        raise StorageError(f"{path}: ends before a record at offset {offset}")
    size, checksum, kind = RECORD_HEAD.unpack_from(octets)
    payload = octets[RECORD_HEAD.size :]
    if len(payload) != size or crc32c(octets[:4] + octets[8:], seed) != checksum:
        raise StorageError(f"{path}: no record stands at offset {offset}: the checksum does not fit")
    layout = LAYOUTS.get(kind)
    if layout is None or size < layout.form.size:
        return {"type": kind, "octets": len(octets), "payload": shown(payload)}
    values = dict(zip(layout.fields, layout.form.unpack_from(payload), strict=True))
    return {"type": layout.name, "octets": len(octets), **values, **rest_of(kind, values, payload[layout.form.size :])}


def rest_of(kind: int, values: dict[str, int], rest: bytes) -> dict[str, Any]:
    """What stands behind the fixed part."""
    if kind == 1:
        names_end, header_end = values["names_bytes"], values["names_bytes"] + values["header_bytes"]
        exchange, key = short_strings(rest[:names_end])
        header, body = rest[names_end:header_end], rest[header_end:]
        return {"exchange": exchange, "routing_key": key, "content_header": shown(header), "body": shown(body)}
    if kind == 6:
        return {"settled": [list(interval) for interval in struct.iter_unpack("<QQ", rest)]}
    if kind == SUMMARY_TYPE:
        return dict(zip(("batches", "records", "record_octets", "definitions"), leading_numbers(rest), strict=False))
    if kind in (7, DEFINITIONS_TYPE):
        return {"changes": readable(definition_changes(kind, rest))}
    return {}


def leading_numbers(octets: bytes) -> Iterator[int]:
    """Numbers of seven bits to the octet, the lowest first; all but the last octet of each have the eighth set."""
    value = shift = 0
    for octet in octets:
        value |= (octet & 0x7F) << shift
        shift += 7
        if not octet & 0x80:
            yield value
            value = shift = 0


def short_strings(names: bytes) -> tuple[str, str]:
    exchange = names[1 : 1 + names[0]]
    return exchange.decode("utf-8", "backslashreplace"), names[2 + names[0] :].decode("utf-8", "backslashreplace")


def shown(octets: bytes) -> str:
    """As text where it is text, as hexadecimal digits otherwise, and never very long."""
    part = octets[:SHOWN_OCTETS_MAX]
    text = part.decode("ascii", "replace")
    shown = repr(text) if text.isprintable() and "\ufffd" not in text else part.hex(" ")
    return shown if len(part) == len(octets) else f"{shown} ... ({len(octets)} octets)"


# ------------------------------------------------------------------------------------------------------------- as text


def as_text(found: dict[str, Any]) -> Iterator[str]:
    yield f"{found['data_dir']}"
    if found["in_use_by"]:
        yield f"  in use by process {found['in_use_by']}: this is what was on disk a moment ago"
    end = found["end"]
    yield f"  the journal ends in segment {end['segment']:016x} at offset {end['offset']}, with batch {end['batch']}"
    if found["cut_octets"]:
        yield f"  a torn tail of {found['cut_octets']} octets follows, which was never confirmed"
    yield from (f"  behind the end, nothing in it was ever confirmed: {path}" for path in found["abandoned"])
    yield f"segments: {len(found['segments'])}, spares: {len(found['spares'])}"
    for segment in found["segments"]:
        yield (
            f"  {segment['number']:016x}  batches {segment['batches']}  records {segment['records']}"
            f"  live {segment['live_octets']} octets for {segment['live_targets']} messages"
            f"  dead {segment['dead_octets']} octets{read_how(segment)}"
        )
    yield f"definitions: {len(found['definitions'])}"
    yield from (f"  {kind} {name}: {value}" for kind, name, value in found["definitions"])
    yield f"queues: {len(found['queues'])}"
    for queue in found["queues"]:
        name = "" if queue["name"] is None else f"  {queue['name']!r} in vhost {queue['vhost']!r}{part_of(queue)}"
        gone = "  gone" if queue["gone"] else ""
        yield f"  id {queue['id']}{name}{gone}  messages {queue['messages']}  body octets {queue['body_bytes']}"
    yield from (fault_line(fault) for fault in found["faults"])


def read_how(segment: dict[str, Any]) -> str:
    """How much of it was looked at."""
    if segment["trusted"]:
        return f"  by its summary of {segment['summary_octets']} octets"
    return "  with a summary" if segment["summary_at"] else ""


def fault_line(fault: dict[str, Any]) -> str:
    where = f" in segment {fault['number']:016x} at offset {fault['offset']}" if "number" in fault else ""
    return f"CORRUPT: {fault['what']}{where}: {fault['reason']}; {fault['octets']} octets"


def queue_text(queue: dict[str, Any], messages: list[dict[str, Any]]) -> Iterator[str]:
    yield f"queue {queue['id']} {queue['name'] or ''}: {queue['messages']} messages, next {queue['next_sequence']}"
    for message in messages:
        again = f"  redelivered, {message['delivery_count']} times" if message["redelivered"] else ""
        expires = f"  expires at {message['expires_at_ms']}" if message["expires_at_ms"] else ""
        yield (
            f"  {message['sequence']}  at {message['segment']:x}:{message['offset']}"
            f"  body octets {message['body_bytes']}{again}{expires}"
        )


__all__ = ["CorruptJournal", "as_text", "find_queue", "overview", "queue_messages", "queue_text", "read_journal"]
