"""Field tables, judged by the tests' own encoder: every type, exactly back, and no octets that break anything."""

import copy
import math
import pickle
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flowmq.amqp.errors import MalformedSyntax
from flowmq.amqp.tables import (
    DEPTH_MAX,
    TYPE_NAMES,
    Array,
    Table,
    Timestamp,
    decode_table,
    decode_table_at,
    encode_table,
    type_name,
)
from tests.support import codec
from tests.support.codec import Typed

EVERY_TYPE: dict[str, tuple[Any, object, str]] = {
    "b": (-128, -128, "byte"),
    "B": (255, 255, "unsignedbyte"),
    "s": (-32768, -32768, "short"),
    "u": (65535, 65535, "unsignedshort"),
    "I": (-(2**31), -(2**31), "signedint"),
    "i": (2**32 - 1, 2**32 - 1, "unsignedint"),
    "l": (-(2**63), -(2**63), "long"),
    "f": (0.5, 0.5, "float"),
    "d": (0.1, 0.1, "double"),
    "D": (Decimal("-3.14"), Decimal("-3.14"), "decimal"),
    "S": ("grüße", "grüße", "longstr"),
    "x": (b"\0\xff", b"\0\xff", "binary"),
    "F": ({"a": 1}, {"a": 1}, "table"),
    "A": ([1, "b"], [1, "b"], "array"),
    "T": (2**64 - 1, Timestamp(2**64 - 1), "timestamp"),
    "t": (True, True, "bool"),
    "V": (None, None, "void"),
}


def _integers(letter: str, low: int, high: int) -> st.SearchStrategy[Typed]:
    return st.integers(low, high).map(lambda value: Typed(letter, value))


def _text(octets_max: int) -> st.SearchStrategy[str]:
    return st.binary(max_size=octets_max).map(lambda octets: octets.decode("utf-8", "surrogateescape"))


SCALARS = st.one_of(
    _integers("b", -(2**7), 2**7 - 1),
    _integers("B", 0, 2**8 - 1),
    _integers("s", -(2**15), 2**15 - 1),
    _integers("u", 0, 2**16 - 1),
    _integers("I", -(2**31), 2**31 - 1),
    _integers("i", 0, 2**32 - 1),
    _integers("l", -(2**63), 2**63 - 1),
    _integers("T", 0, 2**64 - 1),
    st.floats(width=32, allow_nan=False).map(lambda value: Typed("f", value)),
    st.floats(allow_nan=False).map(lambda value: Typed("d", value)),
    st.builds(
        lambda n, scale: Typed("D", Decimal(n).scaleb(-scale)), st.integers(-(2**31), 2**31 - 1), st.integers(0, 255)
    ),
    _text(300).map(lambda value: Typed("S", value)),
    st.binary(max_size=300).map(lambda value: Typed("x", value)),
    st.booleans().map(lambda value: Typed("t", value)),
    st.just(Typed("V", None)),
)
FIELDS = st.dictionaries(
    _text(20),
    st.recursive(
        SCALARS,
        lambda values: st.one_of(
            st.lists(values, max_size=4).map(lambda items: Typed("A", items)),
            st.dictionaries(_text(8), values, max_size=4).map(lambda fields: Typed("F", fields)),
        ),
        max_leaves=12,
    ),
    max_size=6,
)


def plain(value: Any) -> Any:
    """The value without the letters that the tests' encoder was told to use."""
    if isinstance(value, Typed):
        return Timestamp(value.value) if value.letter == "T" else plain(value.value)
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("letter", EVERY_TYPE)
def test_every_type_is_read_named_and_written_again(letter: str) -> None:
    sent, read, name = EVERY_TYPE[letter]
    octets = codec.table_fields({"key": Typed(letter, sent)})
    table = decode_table(octets)
    assert table == {"key": read}
    assert type(table["key"]) is type(read) or letter in "FA"
    assert (table.letter("key"), table.type_name("key")) == (letter, name)
    assert encode_table(table) == codec.long_string(octets)


def test_every_type_is_known() -> None:
    assert set(TYPE_NAMES) == set(EVERY_TYPE)


@pytest.mark.parametrize("letter", EVERY_TYPE)
def test_every_type_in_an_array(letter: str) -> None:
    sent, read, name = EVERY_TYPE[letter]
    octets = codec.table_fields({"key": [Typed(letter, sent), Typed("s", 1)]})
    array = decode_table(octets)["key"]
    assert isinstance(array, Array)
    assert array == [read, 1]
    assert [array.type_name(0), array.type_name(1)] == [name, "short"]
    assert encode_table({"key": array}) == codec.long_string(octets)


@given(FIELDS)
def test_what_was_read_is_written_again_octet_for_octet(fields: dict[str, Any]) -> None:
    octets = codec.table_fields(fields)
    table = decode_table(octets)
    assert table == plain(fields)
    assert encode_table(table) == codec.long_string(octets)


@given(FIELDS, st.binary(max_size=9), st.binary(max_size=9))
def test_a_table_amid_other_octets(fields: dict[str, Any], before: bytes, behind: bytes) -> None:
    octets = codec.table(fields)
    table, end = decode_table_at(before + octets + behind, len(before))
    assert table == decode_table(octets[4:])
    assert end == len(before) + len(octets)


@given(FIELDS)
def test_plain_values_come_back_equal(fields: dict[str, Any]) -> None:
    values = plain(fields)
    assert decode_table(encode_table(values)[4:]) == values


WHOLE = codec.table_fields({letter: Typed(letter, value) for letter, (value, _, _) in EVERY_TYPE.items()})
# Where one field ends and the next begins, a shorter table is a table.
ENDS = {len(codec.table_fields({k: Typed(k, EVERY_TYPE[k][0]) for k in list(EVERY_TYPE)[:n]})) for n in range(99)}


def test_cut_off_anywhere_it_is_a_syntax_error() -> None:
    for end in range(len(WHOLE)):
        if end in ENDS:
            assert len(decode_table(WHOLE[:end])) == sorted(ENDS).index(end)
            continue
        with pytest.raises(MalformedSyntax, match="ends within a value"):
            decode_table(WHOLE[:end])


def test_cut_off_anywhere_with_its_length_it_is_a_syntax_error() -> None:
    octets = codec.long_string(WHOLE)
    for end in range(len(octets)):
        with pytest.raises(MalformedSyntax, match="ends within a value"):
            decode_table_at(octets[:end], 0)


def test_a_nested_table_cannot_reach_beyond_the_outer_one() -> None:
    nested = b"\x01aF" + b"\0\0\0\x05" + b"\x01bI" + b"\0\0\0\x01"  # says 5 octets, its value needs 7
    with pytest.raises(MalformedSyntax, match="ends within a value"):
        decode_table(nested)


@example(b"\x01aF\xff\xff\xff\xff")
@example(b"\x01aI\0\0\0\1\x01aI\0\0\0\2")
@example(b"\x01at\x02")
@given(st.binary(max_size=80))
def test_any_octets_are_a_table_or_a_syntax_error(octets: bytes) -> None:
    try:
        table = decode_table(octets)
    except MalformedSyntax:
        return
    written = encode_table(table)
    assert encode_table(decode_table(written[4:])) == written


@given(FIELDS, st.data())
def test_one_wrong_octet_breaks_nothing_else(fields: dict[str, Any], data: st.DataObject) -> None:
    octets = bytearray(codec.table_fields({**fields, "last": 1}))
    octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    try:
        table = decode_table(bytes(octets))
    except MalformedSyntax:
        return
    assert isinstance(table, Table)


@pytest.mark.parametrize("letter", [b"Z", b"\0", b"L", b"\xff"])
def test_an_unknown_type_is_named_by_its_number(letter: bytes) -> None:
    with pytest.raises(MalformedSyntax, match=f"unknown type {letter[0]} "):
        decode_table(b"\x01a" + letter + bytes(8))


def test_the_first_of_two_values_counts() -> None:
    table = decode_table(codec.table_fields({"a": Typed("s", 1)}) + codec.table_fields({"a": Typed("S", "two")}))
    assert table == {"a": 1}
    assert table.type_name("a") == "short"


# --- nesting -------------------------------------------------------------------------------------------------------


def nested_octets(depth: int, letter: str) -> bytes:
    octets = b""
    for _ in range(depth - 1):
        octets = (b"\x01a" if letter == "F" else b"") + letter.encode() + codec.long_string(octets)
    return octets if letter == "F" else codec.table_fields({"a": 0})[:2] + b"A" + codec.long_string(octets)


def nested_value(depth: int) -> dict[str, object]:
    value: dict[str, object] = {}
    for _ in range(depth - 1):
        value = {"a": value}
    return value


@pytest.mark.parametrize("letter", ["F", "A"])
def test_nesting_has_a_limit_when_read(letter: str) -> None:
    within, beyond = (DEPTH_MAX, DEPTH_MAX + 1) if letter == "F" else (DEPTH_MAX - 1, DEPTH_MAX)
    assert len(decode_table(nested_octets(within, letter))) == 1
    for depth in (beyond, 5000):
        with pytest.raises(MalformedSyntax, match="nested deeper than 64"):
            decode_table(nested_octets(depth, letter))


def test_nesting_has_the_same_limit_when_written() -> None:
    assert decode_table(encode_table(nested_value(DEPTH_MAX))[4:]) == nested_value(DEPTH_MAX)
    with pytest.raises(ValueError, match="nested deeper than 64"):
        encode_table(nested_value(DEPTH_MAX + 1))


def test_a_table_within_itself_is_refused() -> None:
    table: dict[str, object] = {}
    table["a"] = [table]
    with pytest.raises(ValueError, match="nested deeper than 64"):
        encode_table(table)


# --- plain Python values -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "letter"),
    [
        (True, "t"),
        (2**31 - 1, "I"),
        (2**31, "l"),
        (-(2**31) - 1, "l"),
        (1.5, "d"),
        ("text", "S"),
        (b"octets", "x"),
        (None, "V"),
        (Timestamp(5), "T"),
        (datetime(2024, 1, 1, tzinfo=UTC), "T"),
        (Decimal("1.5"), "D"),
        ({"a": 1}, "F"),
        ([1], "A"),
        ((1,), "A"),
    ],
)
def test_a_plain_value_gets_the_type_that_suits_it(value: object, letter: str) -> None:
    assert encode_table({"k": value})[4:7] == b"\x01k" + letter.encode()
    assert Table({"k": value}).type_name("k") == type_name(value) == TYPE_NAMES[letter]


@pytest.mark.parametrize(
    "moment",
    [
        datetime(2024, 1, 1, 0, 0, 7, tzinfo=UTC),
        datetime(2024, 1, 1, 2, 0, 7, tzinfo=timezone(timedelta(hours=2))),
        datetime(2024, 1, 1, 0, 0, 7),
    ],
)
def test_a_datetime_is_seconds_of_utc(moment: datetime) -> None:
    assert decode_table(encode_table({"k": moment})[4:]) == {"k": 1704067207}


@pytest.mark.parametrize("text", ["0", "-0.00", "2147483647", "-21474836.48", "1E+9", "1E-255", "0E+3"])
def test_decimals_that_fit(text: str) -> None:
    assert decode_table(encode_table({"k": Decimal(text)})[4:]) == {"k": Decimal(text)}


@pytest.mark.parametrize("text", ["2147483648", "1E+10", "1E+999999", "1E-256", "1.2345678901", "NaN", "Infinity"])
def test_decimals_that_do_not_fit(text: str) -> None:
    with pytest.raises(ValueError, match="cannot hold the decimal"):
        encode_table({"k": Decimal(text)})


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, Timestamp(-1), Timestamp(2**64), datetime(1969, 1, 1)])
def test_numbers_that_do_not_fit(value: object) -> None:
    with pytest.raises(ValueError, match="bits"):
        encode_table({"k": value})


def test_a_name_holds_255_octets() -> None:
    assert decode_table(encode_table({"ü" * 127 + "x": 1})[4:]) == {"ü" * 127 + "x": 1}
    with pytest.raises(ValueError, match="255 octets, not 256"):
        encode_table({"ü" * 128: 1})


@pytest.mark.parametrize("value", [object(), {1, 2}, 1j])
def test_what_no_table_can_hold(value: object) -> None:
    with pytest.raises(TypeError, match=f"cannot hold a {type(value).__name__}"):
        encode_table({"k": value})
    with pytest.raises(TypeError, match="cannot hold"):
        encode_table({"k": [value]})


# --- letters that are kept -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("letter", "value", "replacement", "written_as"),
    [
        ("b", 1, 2, "b"),
        ("b", 1, 200, "I"),
        ("u", 1, -1, "I"),
        ("I", 1, "text", "S"),
        ("I", 1, True, "t"),
        ("I", 1, Timestamp(1), "T"),
        ("T", 1, 1, "I"),
        ("f", 0.5, 0.25, "f"),
        ("f", 0.5, 0.1, "d"),
        ("f", 0.5, 1e300, "d"),
        ("f", 0.5, math.inf, "f"),
        ("f", 0.5, math.nan, "f"),
        ("S", "a", b"a", "x"),
        ("V", None, 1, "I"),
    ],
)
def test_a_replaced_value_keeps_its_type_only_where_it_fits(
    letter: str, value: object, replacement: object, written_as: str
) -> None:
    table = decode_table(codec.table_fields({"k": Typed(letter, value)}))
    table["k"] = replacement
    assert table.letter("k") == written_as
    assert encode_table(table)[6:7] == written_as.encode()


def test_an_array_of_another_length_forgets_its_letters() -> None:
    array = decode_table(codec.table_fields({"k": [Typed("s", 1), Typed("b", 2)]}))["k"]
    assert isinstance(array, Array)
    array.insert(0, "first")
    assert [array.letter(index) for index in range(3)] == ["S", "I", "I"]


@pytest.mark.parametrize(
    "duplicate", [Table, Table.copy, copy.copy, copy.deepcopy, lambda t: pickle.loads(pickle.dumps(t))]
)
def test_copies_keep_the_letters_as_their_own(duplicate: Any) -> None:
    table = decode_table(codec.table_fields({"a": Typed("s", 1), "b": [Typed("u", 2)]}))
    twin = duplicate(table)
    assert isinstance(twin, Table)
    assert encode_table(twin) == encode_table(table)
    twin.types["a"] = "l"
    assert table.letter("a") == "s"


def test_copies_of_arrays_keep_the_letters_as_their_own() -> None:
    array = Array([1], ["s"])
    for twin in (Array(array), array.copy(), copy.copy(array), copy.deepcopy(array)):
        twin.types[0] = "l"
        assert (twin.letter(0), array.letter(0)) == ("l", "s")
