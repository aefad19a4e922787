"""Erlang's notation, compared with what Erlang's own ~p and ~w print."""

import pytest

from flowmq.amqp.erlang import Atom, Term, binary, binary_of_numbers, frame_excerpt, term

PRINTED = [
    (b"", "<<>>"),
    (b"x", '<<"x">>'),
    (b"\0\1", "<<0,1>>"),
    (b'a"b\\c\n\x1b\t', r'<<"a\"b\\c\n\e\t">>'),
    (b"\b\f\v", r'<<"\b\f\v">>'),
    (b"abc\xe9", '<<"abcé">>'),
    (b"\x7f", "<<127>>"),
    (b"\x9f", "<<159>>"),
    (b"\xa0", '<<"\xa0">>'),
    ("", "[]"),
    ("\0a", "[0,97]"),
    (-1, "-1"),
    (True, "true"),
    (Atom("none"), "none"),
    ((Atom("value_negative"), -1), "{value_negative,-1}"),
    ((Atom("leftover_string"), ".5"), '{leftover_string,".5"}'),
    ((Atom("a"), 'q"w'), r'{a,"q\"w"}'),
    ((Atom("unacceptable_type_in_header"), "CC", Atom("longstr")), '{unacceptable_type_in_header,"CC",longstr}'),
    ((Atom("a"), (1, b"x")), '{a,{1,<<"x">>}}'),
]


@pytest.mark.parametrize(("value", "printed"), PRINTED)
def test_term(value: Term, printed: str) -> None:
    assert term(value) == printed


def test_binary_of_numbers_never_looks_for_text() -> None:
    assert binary_of_numbers(b"ab") == "<<97,98>>"
    assert binary_of_numbers(b"") == "<<>>"
    assert binary(b"ab") == '<<"ab">>'


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        (b"", "type 7, all octets = <<>>"),
        (b"x", 'type 7, all octets = <<"x">>'),
        (b"abcdefghijklmnop", 'type 7, all octets = <<"abcdefghijklmnop">>'),
        (b"abcdefghijklmnop\0", 'type 7, first 16 octets = <<"abcdefghijklmnop">>'),
    ],
)
def test_frame_excerpt_shows_sixteen_octets_at_most(payload: bytes, text: str) -> None:
    assert frame_excerpt(7, payload) == text
