"""Erlang's notation of terms, as far as it appears in the reply texts that people and tests look for.

Only the writing of it: nothing here reads Erlang.
"""

EXCERPT_BYTES_MAX = 16

# What Erlang takes for text in a binary or a string: Latin-1 without control characters, but for these.
ESCAPES = {
    ord("\n"): "\\n",
    ord("\r"): "\\r",
    ord("\t"): "\\t",
    ord("\v"): "\\v",
    ord("\b"): "\\b",
    ord("\f"): "\\f",
    0x1B: "\\e",
    ord('"'): '\\"',
    ord("\\"): "\\\\",
}


class Atom(str):
    """A word that Erlang writes without quotes: value_negative, longstr, none."""

    __slots__ = ()


Term = Atom | bool | int | str | bytes | tuple["Term", ...]


def term(value: Term) -> str:
    """{max_value_exceeded,256} of (Atom("max_value_exceeded"), 256), {leftover_string,".5"} and the like."""
    if isinstance(value, tuple):
        return "{" + ",".join(term(item) for item in value) + "}"
    if isinstance(value, Atom):
        return str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return string(value)
    return binary(value) if isinstance(value, bytes) else str(value)


def string(text: str) -> str:
    """A string, which to Erlang is a list of octets that happen to be printable; [] and [0,1] are strings too."""
    octets = text.encode("utf-8", "surrogateescape")
    return _quoted(octets) if _is_text(octets) else f"[{_numbers(octets)}]"


def binary(octets: bytes) -> str:
    """<<"text">> where all octets are printable, <<0,1,2>> where they are not."""
    return f"<<{_quoted(octets)}>>" if _is_text(octets) else binary_of_numbers(octets)


def binary_of_numbers(octets: bytes) -> str:
    """<<0,120>>: what Erlang prints when it is told not to look for text."""
    return f"<<{_numbers(octets)}>>"


def frame_excerpt(frame_type: int, payload: bytes) -> str:
    """type 7, all octets = <<"x">>: how a text about a wrong frame shows it, the beginning of it when it is long."""
    shown = "all" if len(payload) <= EXCERPT_BYTES_MAX else f"first {EXCERPT_BYTES_MAX}"
    return f"type {frame_type}, {shown} octets = {binary(payload[:EXCERPT_BYTES_MAX])}"


def _is_text(octets: bytes) -> bool:
    return bool(octets) and all(0x20 <= octet < 0x7F or octet >= 0xA0 or octet in ESCAPES for octet in octets)


def _quoted(octets: bytes) -> str:
    return '"' + octets.decode("latin-1").translate(ESCAPES) + '"'


def _numbers(octets: bytes) -> str:
    return ",".join(map(str, octets))
