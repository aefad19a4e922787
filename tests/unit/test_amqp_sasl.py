"""SASL responses: what is read out of a right one, and that a wrong one is a SYNTAX_ERROR and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowmq.amqp.errors import MalformedSyntax
from flowmq.amqp.sasl import parse_amqplain, parse_plain
from tests.support.codec import Typed, table_fields

OCTETS_WITHOUT_NUL = st.binary(max_size=40).map(lambda octets: octets.replace(b"\0", b""))


def test_plain() -> None:
    assert parse_plain(b"\0guest\0secret") == ("guest", "secret")


@given(OCTETS_WITHOUT_NUL, OCTETS_WITHOUT_NUL)
def test_plain_keeps_every_octet(user: bytes, password: bytes) -> None:
    parsed = parse_plain(b"\0" + user + b"\0" + password)
    assert tuple(text.encode("utf-8", "surrogateescape") for text in parsed) == (user, password)


@pytest.mark.parametrize("response", [b"", b"\0", b"\0guest", b"guest\0guest", b"id\0guest\0guest", b"\0a\0b\0c"])
def test_plain_malformed(response: bytes) -> None:
    with pytest.raises(MalformedSyntax, match=r"^SYNTAX_ERROR - response <<.*>> invalid$"):
        parse_plain(response)


def test_plain_malformed_shows_the_response() -> None:
    with pytest.raises(MalformedSyntax) as raised:
        parse_plain(b"guest")
    assert raised.value.explanation == 'response <<"guest">> invalid'


def test_amqplain() -> None:
    assert parse_amqplain(table_fields({"LOGIN": "guest", "PASSWORD": "secret"})) == ("guest", "secret")
    assert parse_amqplain(table_fields({"PASSWORD": "p", "other": 1, "LOGIN": "u"})) == ("u", "p")


@pytest.mark.parametrize(
    "fields",
    [{}, {"LOGIN": "guest"}, {"PASSWORD": "guest"}, {"LOGIN": 1, "PASSWORD": "x"}, {"LOGIN": "x", "PASSWORD": None}],
)
def test_amqplain_without_login_or_password(fields: dict[str, object]) -> None:
    with pytest.raises(MalformedSyntax, match="missing LOGIN or PASSWORD"):
        parse_amqplain(table_fields(fields))


def test_amqplain_wants_text() -> None:
    with pytest.raises(MalformedSyntax, match="missing LOGIN or PASSWORD"):
        parse_amqplain(table_fields({"LOGIN": "guest", "PASSWORD": Typed("x", b"guest")}))


def test_amqplain_cut_off_anywhere() -> None:
    whole = table_fields({"LOGIN": "guest", "PASSWORD": "guest"})
    for end in range(len(whole)):
        with pytest.raises(MalformedSyntax):
            parse_amqplain(whole[:end])


@given(st.binary(max_size=60))
def test_any_octets_are_a_pair_or_a_syntax_error(response: bytes) -> None:
    for parse in (parse_plain, parse_amqplain):
        try:
            user, password = parse(response)
        except MalformedSyntax:
            continue
        assert isinstance(user, str)
        assert isinstance(password, str)
