"""Routing by headers: which arguments match which headers, judged by a list of cases and by naive matching."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowmq._queue import Queue
from flowmq._router import Exchange
from tests.support.codec import Typed, table_fields


def matches(arguments: dict[str, Any], headers: dict[str, Any] | None) -> bool:
    exchange, queue = Exchange(b"", "headers"), Queue(b"q")
    exchange.bind(queue, b"", table_fields(arguments))
    found = exchange.routes(b"ignored", None if headers is None else table_fields(headers))
    assert found in ([], [queue])
    return bool(found)


HEADERS = [
    ({}, {}, True),
    ({}, None, True),
    ({"x-match": "all"}, {"a": 1}, True),
    ({"x-match": "any"}, {"a": 1}, False),
    ({"x-match": "any"}, None, False),
    ({"a": 1, "b": "x"}, {"b": "x", "c": 0, "a": 1}, True),
    ({"a": 1, "b": "x"}, {"a": 1}, False),
    ({"a": 1}, None, False),
    ({"x-match": "any", "a": 1, "b": "x"}, {"b": "x"}, True),
    ({"x-match": "any", "a": 1, "b": "x"}, {"a": 2, "b": "y"}, False),
    ({"x-match": "all", "x-a": 1, "a": 1}, {"a": 1}, True),
    ({"x-match": "all-with-x", "x-a": 1, "a": 1}, {"a": 1}, False),
    ({"x-match": "all-with-x", "x-a": 1}, {"x-a": 1}, True),
    ({"x-match": "any", "x-a": 1}, {"x-a": 1}, False),
    ({"x-match": "any-with-x", "x-a": 1, "a": 1}, {"x-a": 1}, True),
    ({"x-match": "any-with-x", "a": 1}, {"x-match": "any-with-x"}, False),
    ({"x-match": "all", "X-a": 1}, {}, False),
    ({"a": None}, {"a": "whatever"}, True),
    ({"a": None}, {"a": None}, True),
    ({"a": None}, {"b": 1}, False),
    ({"a": 1}, {"a": None}, False),
    ({"a": ""}, {"a": None}, False),
]


@pytest.mark.parametrize(("arguments", "headers", "expected"), HEADERS)
def test_headers(arguments: dict[str, Any], headers: dict[str, Any] | None, expected: bool) -> None:
    assert matches(arguments, headers) is expected


EQUAL = [
    [Typed(kind, 5) for kind in "bBsuIilT"] + [Typed("d", 5.0), Typed("f", 5.0)],
    [Typed(kind, -5) for kind in "bsIl"] + [Typed("d", -5.0)],
    [Typed("d", 0.5), Typed("f", 0.5)],
    [Typed("d", 0.0), Typed("d", -0.0), Typed("I", 0)],
    [Typed("S", "5"), Typed("x", b"5")],
    [Typed("t", True)],
    [Typed("t", False)],
    [Typed("l", -1)],
    [Typed("T", 2**64 - 1)],
    [Typed("d", 1e300)],
    [Typed("S", "")],
    [Typed("V", None)],
    [Typed("F", {"n": 5})],
    [Typed("F", {})],
    [Typed("A", [5])],
    [Typed("A", [])],
    [Typed("S", "\x00\x00\x00\x05")],
]


def test_values_are_compared_decoded() -> None:
    for group in EQUAL:
        for one in group:
            for other_group in EQUAL:
                for other in other_group:
                    expected = group is other_group or one.letter == "V"
                    assert matches({"h": one}, {"h": other}) is expected, (one, other)


@pytest.mark.parametrize(
    "broken", [b"\x01", b"\x01a", b"\x01aI\x00", b"\x01aS\x00\x00\x00\x09x", b"\x01aq\x01", b"\x05a"]
)
def test_a_malformed_table_has_no_headers_and_makes_no_binding(broken: bytes) -> None:
    exchange, queue = Exchange(b"", "headers"), Queue(b"q")
    exchange.bind(queue, b"", table_fields({"good": 1}))
    assert exchange.routes(b"", table_fields({"good": 1})) == [queue]
    assert exchange.routes(b"", table_fields({"good": 1}) + broken) == []
    other = Queue(b"other")
    with pytest.raises(ValueError, match="not a field table"):
        exchange.bind(other, b"", broken)
    assert (exchange.binding_count, exchange.unbind_target(other)) == (1, 0)


NAME = st.sampled_from(["a", "b", "c", "x-d", "a-rather-long-name-of-a-header"])
VALUE = st.sampled_from([1, 2, "1", True, None, 1.5, Typed("l", 1), Typed("b", 2), b"1"])


def headers_match(arguments: dict[str, Any], headers: dict[str, Any]) -> bool:
    def decoded(value: Any) -> Any:
        value = value.value if isinstance(value, Typed) else value
        value = value.encode() if isinstance(value, str) else value
        return type(value), value

    mode = arguments.get("x-match", "all")
    fields = {name: value for name, value in arguments.items() if name != "x-match"}
    if not mode.endswith("with-x"):
        fields = {name: value for name, value in fields.items() if not name.startswith("x-")}
    answers = [
        name in headers and (value is None or decoded(value) == decoded(headers[name]))
        for name, value in fields.items()
    ]
    return any(answers) if mode.startswith("any") else all(answers)


@settings(max_examples=300, deadline=None)
@given(
    bindings=st.lists(
        st.tuples(st.sampled_from(["all", "any", "all-with-x", "any-with-x"]), st.dictionaries(NAME, VALUE))
    ),
    headers=st.dictionaries(NAME, VALUE),
    more=st.integers(0, 40),
)
def test_headers_agree_with_the_naive_matcher(
    bindings: list[tuple[str, dict[str, Any]]], headers: dict[str, Any], more: int
) -> None:
    exchange = Exchange(b"", "headers")
    expected = set()
    headers = {f"other-{number}": number for number in range(more)} | headers
    for number, (mode, fields) in enumerate(bindings):
        queue = Queue(f"{number}".encode())
        exchange.bind(queue, b"", table_fields({**fields, "x-match": mode}))
        if headers_match({**fields, "x-match": mode}, headers):
            expected.add(queue)
    assert set(exchange.routes(b"", table_fields(headers))) == expected


def test_of_two_headers_with_one_name_the_first_counts() -> None:
    exchange, queue = Exchange(b"", "headers"), Queue(b"q")
    exchange.bind(queue, b"", table_fields({"a": 1}))
    assert exchange.routes(b"", table_fields({"a": 1}) + table_fields({"a": 2})) == [queue]
    assert exchange.routes(b"", table_fields({"a": 2}) + table_fields({"a": 1})) == []
