"""AMQP's errors: codes, names, sides, and a reply text that fits into a short string."""

import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowmq.amqp import errors
from flowmq.amqp.errors import ERRORS, AMQPError, HardError, NotFound, NotImplementedByBroker, SoftError, cut

SOFT = {
    311: "CONTENT_TOO_LARGE",
    312: "NO_ROUTE",
    313: "NO_CONSUMERS",
    403: "ACCESS_REFUSED",
    404: "NOT_FOUND",
    405: "RESOURCE_LOCKED",
    406: "PRECONDITION_FAILED",
}
HARD = {
    320: "CONNECTION_FORCED",
    402: "INVALID_PATH",
    501: "FRAME_ERROR",
    502: "SYNTAX_ERROR",
    503: "COMMAND_INVALID",
    504: "CHANNEL_ERROR",
    505: "UNEXPECTED_FRAME",
    506: "RESOURCE_ERROR",
    530: "NOT_ALLOWED",
    540: "NOT_IMPLEMENTED",
    541: "INTERNAL_ERROR",
}


@pytest.mark.parametrize(("side", "names"), [(SoftError, SOFT), (HardError, HARD)])
def test_every_reply_code_has_its_error_on_its_side(side: type[AMQPError], names: dict[int, str]) -> None:
    assert {code: error.name for code, error in ERRORS.items() if issubclass(error, side)} == names


def test_every_error_can_be_imported_by_its_name() -> None:
    assert all(getattr(errors, error.__name__) is error for error in ERRORS.values())


def test_reply_text_is_name_and_explanation() -> None:
    error = NotFound("no queue 'q' in vhost '/'")
    assert error.reply_text() == str(error) == "NOT_FOUND - no queue 'q' in vhost '/'"
    assert (error.code, error.class_id, error.method_id) == (404, 0, 0)


def test_reply_text_without_explanation_is_the_bare_name() -> None:
    assert errors.NoRoute().reply_text() == "NO_ROUTE"


def test_names_that_differ_from_the_class_are_those_of_the_wire() -> None:
    assert NotImplementedByBroker("immediate=true").reply_text() == "NOT_IMPLEMENTED - immediate=true"


def test_the_failing_method_is_kept() -> None:
    error = NotFound("no exchange", class_id=60, method_id=40)
    for same in (error, copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert (same.explanation, same.class_id, same.method_id) == ("no exchange", 60, 40)


def test_a_long_text_is_cut_to_255_octets() -> None:
    assert NotFound("x" * 300).reply_text() == "NOT_FOUND - " + "x" * 240 + "..."


def test_no_character_is_cut_in_two() -> None:
    assert cut("aé" * 100, 8) == "aéa..."
    assert cut("€€€", 7) == "€..."
    assert cut("€€", 6) == "€€"


@given(st.binary(max_size=700).map(lambda octets: octets.decode("utf-8", "surrogateescape")))
def test_cut_keeps_as_many_characters_as_fit(text: str) -> None:
    cut_text = cut(text)
    if len(text.encode("utf-8", "surrogateescape")) <= 255:
        assert cut_text == text
        return
    kept = cut_text.removesuffix("...")
    assert text.startswith(kept)
    assert len(cut_text.encode("utf-8", "surrogateescape")) <= 255
    assert len((text[: len(kept) + 1] + "...").encode("utf-8", "surrogateescape")) > 255
