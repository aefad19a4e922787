"""What travels over the control socket: values in MessagePack, each behind its length in 4 octets, big-endian.

    request   [id, command, arguments]              arguments: a map of names and values
    answer    [id, "part", [row, ...]]              any number of them, of a command that lists
              [id, "end", value]                    the last one; of a command that lists, null
              [id, "error", {"code", "reason"}]     instead of the end; what parts there were are not the whole

Ids are the client's own; several requests may be under way on one connection, and their answers mix. Names are any
octets: what is not UTF-8 travels as Python's surrogates do.
"""

import struct
from typing import Any

import msgpack

LENGTH = struct.Struct(">I")
REQUEST_BYTES_MAX = 64 * 1024 * 1024
ANSWER_BYTES_MAX = 1024 * 1024 * 1024
PART, END, ERROR = "part", "end", "error"


class FrameTooLarge(ValueError):
    """The other side says that it will send more than there is room for."""


def encode(value: object) -> bytes:
    payload: bytes = msgpack.packb(value, unicode_errors="surrogateescape")
    return LENGTH.pack(len(payload)) + payload


def decode(payload: bytes) -> Any:
    return msgpack.unpackb(payload, unicode_errors="surrogateescape", strict_map_key=False)


def length(head: bytes, at_most: int) -> int:
    (count,) = LENGTH.unpack(head)
    if count > at_most:
        raise FrameTooLarge(f"a frame of {count} octets, at most {at_most}")
    return int(count)
