"""Methods as values, judged by the tests' own encoder: every method there and back, and every way to be cut off."""

import struct
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowmq.amqp import methods
from flowmq.amqp.errors import AMQPError, CommandInvalid, FrameError, MalformedSyntax
from flowmq.amqp.methods import METHODS, BasicAck, ConnectionSecureOk, QueueBind, QueueDeclare, decode_method
from tests.support import codec
from tests.support.codec import LAYOUTS, Layout

every_method = pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)

TEXT = st.binary(max_size=255).map(lambda octets: octets.decode("utf-8", "surrogateescape"))
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "o": st.integers(0, 2**8 - 1),
    "h": st.integers(0, 2**16 - 1),
    "l": st.integers(0, 2**32 - 1),
    "L": st.integers(0, 2**64 - 1),
    "b": st.booleans(),
    "s": TEXT,
    "S": st.binary(max_size=600),
    "t": st.dictionaries(TEXT, st.one_of(st.integers(-(2**63), 2**63 - 1), TEXT, st.booleans()), max_size=3),
}
SAMPLES = {"o": 7, "h": 515, "l": 2**31 + 1, "L": 2**63 + 1, "b": True, "s": "name", "S": b"octets", "t": {"a": "b"}}
OCTET_FIELDS = ("response", "challenge")  # long strings that are no text


def fields_of(layout: Layout) -> list[tuple[str, str]]:
    return [(name, letter) for name, letter in layout.fields if not name.startswith("_")]


def expected(name: str, value: Any) -> Any:
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) and name not in OCTET_FIELDS else value


def kind_of(layout: Layout) -> type[methods.Method]:
    return METHODS[layout.class_id, layout.method_id]


def method_or_error(layout: Layout, arguments: bytes) -> methods.Method | AMQPError:
    try:
        return decode_method(layout.class_id, layout.method_id, arguments)
    except AMQPError as error:
        return error


def sample_arguments(layout: Layout) -> bytes:
    return codec.encode_arguments(layout, {name: SAMPLES[letter] for name, letter in fields_of(layout)})


def test_there_are_exactly_the_methods_of_the_protocol() -> None:
    assert {ids: kind.NAME for ids, kind in METHODS.items()} == {
        ids: layout.name for ids, layout in codec.BY_ID.items()
    }


@every_method
def test_names_and_ids(layout: Layout) -> None:
    kind = kind_of(layout)
    assert (layout.class_id, layout.method_id) == (kind.CLASS_ID, kind.METHOD_ID)
    assert kind.__name__ == "".join(word.capitalize() for word in layout.name.replace(".", "-").split("-"))
    assert getattr(methods, kind.__name__) is kind
    assert list(kind.FIELDS) == [name for name, _ in fields_of(layout)]


@every_method
@given(st.data())
def test_there_and_back(layout: Layout, data: st.DataObject) -> None:
    values = {name: data.draw(VALUES[letter], label=name) for name, letter in fields_of(layout)}
    payload = codec.method_payload(layout.name, **values)
    method = decode_method(layout.class_id, layout.method_id, payload[4:])
    assert type(method) is kind_of(layout)
    assert {name: getattr(method, name) for name in values} == {n: expected(n, v) for n, v in values.items()}
    assert kind_of(layout)(**{n: getattr(method, n) for n in values}) == method
    assert method.encode() == payload


@every_method
def test_cut_off_anywhere_it_is_a_frame_error(layout: Layout) -> None:
    whole = sample_arguments(layout)
    for end in range(len(whole)):
        with pytest.raises(FrameError, match=r"^FRAME_ERROR - cannot decode <<.*>>$") as raised:
            decode_method(layout.class_id, layout.method_id, whole[:end])
        assert (raised.value.class_id, raised.value.method_id) == (layout.class_id, layout.method_id)


@every_method
def test_what_cannot_be_decoded_is_shown_whatever_is_missing(layout: Layout) -> None:
    whole = sample_arguments(layout)
    for cut in range(len(whole)):
        numbers = ",".join(map(str, whole[:cut]))
        with pytest.raises(FrameError) as raised:
            decode_method(layout.class_id, layout.method_id, whole[:cut])
        assert raised.value.explanation == f"cannot decode <<{numbers}>>"


VARIABLE = {"s": (">B", 2**8 - 1), "S": (">I", 2**32 - 1), "t": (">I", 2**32 - 1)}


@every_method
def test_a_length_that_promises_too_much_is_a_frame_error(layout: Layout) -> None:
    """Also when what stands behind it would make sense of the octets that it takes."""
    for at, (_, letter) in enumerate(layout.fields):
        if letter not in VARIABLE:
            continue
        code, highest = VARIABLE[letter]
        before, behind = (
            sample_arguments(layout._replace(fields=fields)) for fields in (layout.fields[:at], layout.fields[at:])
        )
        true_length = struct.unpack_from(code, behind)[0]
        rest = behind[struct.calcsize(code) :]
        for length in (len(rest) + 1, highest):
            if not true_length < length <= highest:
                continue
            with pytest.raises(FrameError, match="cannot decode"):
                decode_method(layout.class_id, layout.method_id, before + struct.pack(code, length) + rest)


@every_method
def test_an_octet_too_many_is_a_frame_error(layout: Layout) -> None:
    with pytest.raises(FrameError, match="cannot decode"):
        decode_method(layout.class_id, layout.method_id, sample_arguments(layout) + b"\0")


@every_method
@given(st.binary(max_size=60))
def test_any_octets_are_a_method_or_an_error_of_amqp(layout: Layout, arguments: bytes) -> None:
    result = method_or_error(layout, arguments)
    if isinstance(result, AMQPError):
        assert result.code in (501, 502)
        assert (result.class_id, result.method_id) == (layout.class_id, layout.method_id)
    else:
        payload = result.encode()
        assert decode_method(layout.class_id, layout.method_id, payload[4:]).encode() == payload


@every_method
def test_answers_wait_and_content_is_known(layout: Layout) -> None:
    kind = kind_of(layout)
    assert (layout.name in codec.WITH_CONTENT) == kind.HAS_CONTENT
    answers = layout.name.endswith("-ok") or f"{layout.name}-ok" in codec.BY_NAME or layout.name == "basic.get-empty"
    assert answers == kind.SYNCHRONOUS


def test_the_octets_shown_are_those_of_the_arguments() -> None:
    with pytest.raises(FrameError) as raised:
        decode_method(50, 10, b"\0")
    assert raised.value.reply_text() == "FRAME_ERROR - cannot decode <<0>>"


def test_a_long_text_shows_the_beginning() -> None:
    with pytest.raises(FrameError) as raised:
        decode_method(60, 80, bytes(100_000))
    assert raised.value.reply_text().startswith("FRAME_ERROR - cannot decode <<0,0,0,")
    assert len(raised.value.reply_text()) == 255
    assert len(raised.value.explanation) < 2000


@pytest.mark.parametrize(("class_id", "method_id"), [(60, 999), (0, 0), (90, 12), (65535, 65535)])
def test_an_unknown_method_is_an_invalid_command(class_id: int, method_id: int) -> None:
    with pytest.raises(CommandInvalid) as raised:
        decode_method(class_id, method_id, b"")
    assert raised.value.reply_text() == f"COMMAND_INVALID - unknown method {{{class_id},{method_id}}}"
    assert (raised.value.class_id, raised.value.method_id) == (class_id, method_id)


def test_wrong_octets_within_a_table_are_a_syntax_error_of_the_method() -> None:
    arguments = codec.encode_arguments(codec.BY_NAME["queue.declare"], {"arguments": b"\x01aZ"})
    with pytest.raises(MalformedSyntax, match="unknown type 90") as raised:
        decode_method(50, 10, arguments)
    assert (raised.value.class_id, raised.value.method_id) == (50, 10)


def test_the_lowest_bit_is_the_first() -> None:
    plain = QueueDeclare("q").encode()
    for bit, name in enumerate(("passive", "durable", "exclusive", "auto_delete", "nowait")):
        changed = QueueDeclare("q", **{name: True}).encode()
        assert changed[8] == plain[8] | 1 << bit


def test_reserved_fields_are_read_over_and_written_as_zero() -> None:
    method = decode_method(50, 20, b"\xff\xff" + QueueBind("q", "x", "key").encode()[6:])
    assert method == QueueBind("q", "x", "key")
    assert method.encode()[4:6] == b"\0\0"


def test_types_of_arguments_survive() -> None:
    payload = codec.method_payload("queue.declare", queue="q", arguments={"x-max-length": codec.Typed("b", 5)})
    method = decode_method(50, 10, payload[4:])
    assert isinstance(method, QueueDeclare)
    assert method.arguments.type_name("x-max-length") == "byte"
    assert method.encode() == payload


@pytest.mark.parametrize("octets", [255, 256])
def test_a_short_string_holds_255_octets(octets: int) -> None:
    method = QueueDeclare("é" * 127 + "x" * (octets - 254))
    if octets == 255:
        assert decode_method(50, 10, method.encode()[4:]) == method
        return
    with pytest.raises(ValueError, match="255 octets, not 256"):
        method.encode()


@pytest.mark.parametrize("delivery_tag", [-1, 2**64])
def test_a_number_that_does_not_fit_is_refused(delivery_tag: int) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        BasicAck(delivery_tag).encode()


def test_methods_are_values() -> None:
    method = BasicAck(1)
    with pytest.raises(AttributeError, match="immutable"):
        method.delivery_tag = 2  # type: ignore[misc]
    assert msgspec.structs.replace(method, multiple=True) == BasicAck(1, multiple=True)
    assert method.encode() == struct.pack(">HHQB", 60, 80, 1, 0)


def test_no_two_methods_share_their_default_arguments() -> None:
    assert QueueDeclare("a").arguments is not QueueDeclare("b").arguments


def test_what_was_said_before_is_not_taken_apart_again_but_secrets_and_tables_are_not_kept() -> None:
    assert decode_method(20, 10, b"\0") is decode_method(20, 10, b"\0")
    answer = ConnectionSecureOk(b"a secret").encode()[4:]
    assert decode_method(10, 21, answer) == decode_method(10, 21, answer)
    assert decode_method(10, 21, answer) is not decode_method(10, 21, answer)
    declaration = QueueDeclare("q").encode()[4:]
    assert decode_method(50, 10, declaration) is not decode_method(50, 10, declaration)
