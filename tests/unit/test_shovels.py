"""What a shovel's value may be, URIs without their passwords, and properties that stay the octets they were."""

from typing import Any

import pytest

from flowmq.broker.amqp_uri import UriError, masked, parse, without_credentials
from flowmq.broker.definitions import Definitions
from flowmq.broker.parameters import ParameterError, Parameters
from flowmq.broker.shovels import ShovelError, read_shovel, shown
from flowmq.server import shovels
from flowmq.shovel.contents import Changes, RawProperties
from tests.support import codec

FROM, TO = {"src-uri": "amqp://", "src-queue": "a"}, {"dest-uri": "amqp://u:secret@host/v", "dest-queue": "b"}
PLAIN = {**FROM, **TO}


def test_what_is_not_said_is_as_with_rabbitmq() -> None:
    shovel = read_shovel(PLAIN)
    assert shovel.src_prefetch_count == 1000
    assert shovel.src_delete_after == "never"
    assert shovel.ack_mode == "on-confirm"
    assert shovel.reconnect_delay == 5
    assert not shovel.dest_add_forward_headers
    assert shovel.vhosts_here == {"/"}


def test_older_names_count_too() -> None:
    shovel = read_shovel({**PLAIN, "prefetch-count": 7, "delete-after": 9, "add-forward-headers": True})
    assert (shovel.src_prefetch_count, shovel.src_delete_after, shovel.dest_add_forward_headers) == (7, 9, True)
    assert read_shovel({**PLAIN, "prefetch-count": 7, "src-prefetch-count": 8}).src_prefetch_count == 8


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"src-queue": None}, "must be text"),
        ({"src-queue": ""}, "must not be empty"),
        ({"src-queue": "x" * 256}, "at most 255 octets"),
        ({"src-exchange": "x"}, "Cannot specify 'src-exchange' and 'src-queue'"),
        ({"dest-exchange": "x"}, "Cannot specify 'dest-exchange' and 'dest-queue'"),
        ({"dest-exchange-key": "x"}, "'dest-exchange-key' means nothing with 'dest-queue'"),
        ({"src-exchange-key": "x"}, "'src-exchange-key' means nothing without 'src-exchange'"),
        ({"src-predeclared": True, "src-queue-args": {"x-expires": 1}}, "mean nothing with 'src-predeclared'"),
        ({"src-protocol": "amqp10"}, "src-protocol: must be amqp091: AMQP 1.0 is not supported"),
        ({"src-address": "x", "src-protocol": "amqp10"}, "src-protocol: must be amqp091: AMQP 1.0 is not supported"),
        ({"dest-address": "x"}, "a shovel has no key 'dest-address'"),
        ({"prefetch-count": 0, "src-prefetch-count": 2}, "prefetch-count: must be a whole number from 1 to 65535"),
        ({"src-prefetch-count": 0}, "must be a whole number from 1 to 65535"),
        ({"src-prefetch-count": True}, "must be a whole number"),
        ({"reconnect-delay": -1}, "must be a number of seconds"),
        ({"reconnect-delay": 0.01}, "must be 0 or at least 0.1"),
        ({"reconnect-delay": float("nan")}, "must be a number of seconds"),
        ({"src-delete-after": "soon"}, "must be never, queue-length or a number of messages"),
        ({"ack-mode": "no-ack", "src-delete-after": 5}, "Cannot specify 'no-ack' and numerical 'delete-after'"),
        ({"ack-mode": "sometimes"}, "must be one of on-confirm, on-publish, no-ack"),
        ({"dest-add-forward-headers": "yes"}, "must be true or false"),
        ({"dest-publish-properties": {"headers": {}}}, "no property 'headers'"),
        ({"dest-publish-properties": {"delivery_mode": 3}}, "delivery_mode must be a whole number from 0 to 2"),
        ({"src-consumer-args": {"x": [1]}}, "x must be text, a whole number"),
        ({"src-consumer-args": {"x": 2**70}}, "more than 64 bits"),
        ({"src-uri": []}, "must be a URI or a list of some"),
        ({"src-uri": "http://host"}, "neither amqp:// nor amqps://"),
        ({"src-uri": "amqp://u:secret@host:port/"}, "its host or port is wrong"),
        ({"src-uri": "amqp://u:secret@host:0/"}, "the port is 0"),
        ({"src-uri": "amqp://u:se#cret@host"}, "written %23"),
        ({"src-uri": "amqp://u:***@host"}, "give the password"),
        ({"src-uri": "amqp://u:secret@host?colour=red"}, "there is no option 'colour'"),
        ({"src-uri": "amqp://u:secret@host?verify=verify_peer"}, "mean something with amqps:// only"),
        ({"src-uri": "amqps://host?verify=maybe"}, "verify must be one of verify_peer, verify_none"),
        ({"src-uri": "amqp://host?heartbeat=often"}, "heartbeat must be a number from 0 to 65535"),
        ({"src-uri": "amqp://u:secret@/v"}, "without a host it is this broker"),
        ({"src-uri": "amqps://"}, "without a host it is this broker"),
        ({"src-uri": "amqp://u:secret@host/%ff"}, "the vhost is no UTF-8"),
        ({"src-uri": "u:secret@host"}, "it is no URI like"),
    ],
)
def test_what_cannot_be_is_refused_without_telling_passwords(change: dict[str, Any], text: str) -> None:
    with pytest.raises(ShovelError) as refused:
        read_shovel({**PLAIN, **change})
    assert text in str(refused.value)
    assert "cret" not in str(refused.value)


@pytest.mark.parametrize("missing", ["src-uri", "dest-uri"])
def test_both_uris_are_needed(missing: str) -> None:
    with pytest.raises(ShovelError, match=f"needs the key '{missing}'"):
        read_shovel({key: value for key, value in PLAIN.items() if key != missing})


def test_uris_are_taken_apart() -> None:
    uri = parse("amqps://an%40n:p%2Fw@host:5999/a%2Fb?heartbeat=7&verify=verify_none&cacertfile=/x")
    assert (uri.host, uri.port, uri.user, uri.password, uri.vhost, uri.tls) == (
        "host",
        5999,
        "an@n",
        "p/w",
        "a/b",
        True,
    )
    assert uri.options == {"heartbeat": 7, "verify": "verify_none", "cacertfile": "/x"}
    assert "p%2Fw" not in uri.shown
    here = parse("amqp:///orders")
    assert here.is_here
    assert here.vhost == "orders"
    assert (parse("amqp://host").user, parse("amqp://host").port, parse("amqp://host/").vhost) == ("guest", 5672, "/")
    assert parse("amqp://[::1]:5673/").host == "::1"
    with pytest.raises(UriError):
        parse("amqp://host/ ")


@pytest.mark.parametrize(
    ("uri", "with_mask", "bare"),
    [
        ("amqp://u:secret@host/v", "amqp://u:***@host/v", "amqp://host/v"),
        ("amqp://u:se@cr:et@host", "amqp://u:***@host", "amqp://host"),
        ("amqp://:secret@host", "amqp://:***@host", "amqp://host"),
        ("amqp://host/v", "amqp://host/v", "amqp://host/v"),
        ("amqp://", "amqp://", "amqp://"),
    ],
)
def test_uris_are_shown_without_passwords(uri: str, with_mask: str, bare: str) -> None:
    assert masked(uri) == with_mask
    assert without_credentials(uri) == bare
    assert shown({"src-uri": [uri], "dest-uri": uri, "src-queue": uri})["src-uri"] == [with_mask]


@pytest.mark.parametrize(
    ("patterns", "allowed"),
    [
        (["*"], True),
        ([], False),
        (["host"], True),
        (["HOST:5672"], True),
        (["host:5671"], False),
        (["h*t", "other"], True),
        (["ost"], False),
        (["h.st"], False),
    ],
)
def test_where_shovels_may_connect_to(patterns: list[str], allowed: bool) -> None:
    parameters = Parameters(Definitions())
    parameters.shovel_hosts = patterns
    parameters.set("/", "shovel", "here", {**PLAIN, "dest-uri": "amqp://"})
    if allowed:
        parameters.set("/", "shovel", "s", PLAIN)
    else:
        with pytest.raises(ParameterError, match=r"shovels.hosts does not allow shovels to connect to host:5672"):
            parameters.set("/", "shovel", "s", PLAIN)


def test_without_the_library_a_shovel_is_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shovels, "LIBRARY", "a_library_that_nobody_has")
    parameters = Parameters(Definitions())
    parameters.shovels_need = shovels.missing_library
    with pytest.raises(ParameterError, match=r"pip install 'flowmq\[shovel\]'"):
        parameters.set("/", "shovel", "s", PLAIN)
    assert not parameters.by_name


def test_a_parameter_of_an_older_journal_is_read() -> None:
    parameters = Parameters(Definitions())
    parameters.restore("/", "shovel", "s", PLAIN)
    parameters.restore("/", "shovel", "t", {"value": PLAIN, "user": "ann"})
    assert [value for _, _, value in parameters.shovels()] == [PLAIN, PLAIN]
    assert parameters.users == {("/", "shovel", "s"): None, ("/", "shovel", "t"): "ann"}


# ---------------------------------------------------------------------------------------------------------- properties

HEADERS = {
    "float": 1.5,
    "single": codec.Typed("f", 0.25),
    "octet": codec.Typed("b", -3),
    "time": codec.Typed("T", 1_700_000_000),
    "no text": codec.Typed("S", b"\xff\xfe"),
    "octets": b"\x00\x01",
    "inner": {"list": [1, None, True]},
}
OCTETS = codec.encode_properties({"headers": HEADERS, "correlation_id": b"\xff", "delivery_mode": 2})


def test_properties_pass_as_they_came() -> None:
    came = RawProperties().decode(b"\0" * 12 + OCTETS, 12)
    assert b"".join(came.encode()) == OCTETS
    assert Changes(read_shovel(PLAIN), {}).applied(OCTETS) == OCTETS


def test_properties_are_changed_and_the_others_keep_their_types() -> None:
    value = {**PLAIN, "dest-add-forward-headers": True, "dest-add-timestamp-header": True}
    changes = Changes(read_shovel({**value, "dest-publish-properties": {"app_id": "x", "timestamp": 5}}), {"by": "me"})
    once = codec.decode_properties(changes.applied(OCTETS))
    assert once["app_id"] == "x"
    assert once["timestamp"] == 5
    headers = once["headers"]
    assert headers.pop("x-shovelled") == [{"by": "me"}]
    assert headers.pop("x-shovelled-timestamp") > 1_700_000_000
    assert codec.table(HEADERS) in OCTETS
    assert headers == codec.decode_properties(OCTETS)["headers"]
    twice = codec.decode_properties(changes.applied(changes.applied(OCTETS)))
    assert twice["headers"]["x-shovelled"] == [{"by": "me"}, {"by": "me"}]
