"""The handshake: header, start, log-in, tune, open. Each step names the handler of the next.

Refusals follow the sheet of RabbitMQ's behaviour that clients know: a wrong header is answered with ours, a wrong
log-in with connection.close for those who can take it, and never with the reason.
"""

import ipaddress
import logging
import platform
import time
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from flowmq import __version__
from flowmq.amqp.constants import (
    CAPABILITIES,
    FRAME_MIN_BYTES,
    PROTOCOL_HEADER,
    PROTOCOL_HEADER_0_9,
    VERSION_MAJOR,
    VERSION_MINOR,
)
from flowmq.amqp.errors import AccessRefused, ChannelError, CommandInvalid, FrameError, NotAllowed
from flowmq.amqp.method import Method
from flowmq.amqp.methods import (
    ConnectionClose,
    ConnectionCloseOk,
    ConnectionOpen,
    ConnectionOpenOk,
    ConnectionStart,
    ConnectionStartOk,
    ConnectionTune,
    ConnectionTuneOk,
)
from flowmq.amqp.tables import Table
from flowmq.broker.users import User
from flowmq.broker.vhost import VHost
from flowmq.server.authentication import NOT_CHECKED, TOO_MANY
from flowmq.server.mechanisms import MECHANISMS, offered

if TYPE_CHECKING:
    from flowmq.server.node import Node
    from flowmq.server.session import Session

TOKEN_FRAME_BYTES = 16384  # of a start-ok that may hold a token
HANDSHAKES_SCARCE = 100  # at once, while memory is very short
REFUSED_SECONDS = 3.0  # how long a refused client waits for its socket to close: guessing passwords must be slow
TLS_HANDSHAKE = b"\x16\x03"
HTTP_METHODS = (b"GET ", b"POST", b"HEAD", b"PUT ", b"DELE", b"OPTI", b"PATC", b"CONN", b"PRI ")
AMQP_1_0 = (b"AMQP\x00\x01", b"AMQP\x02\x01", b"AMQP\x03\x01")  # plain, in TLS, in SASL
MQTT_CONNECT = 0x10
PROXY_HEADERS = (b"PROXY ", b"\r\n\r\n\x00\r\nQ")
log = logging.getLogger("flowmq")


def server_properties(cluster_name: str) -> Table:
    return Table(
        {
            "capabilities": Table(dict.fromkeys(CAPABILITIES, True)),
            "cluster_name": cluster_name or platform.node(),
            "copyright": "Copyright the FlowMQ authors",
            "information": "Licensed under the Apache License 2.0",
            "platform": f"Python {platform.python_version()}",
            "product": "FlowMQ",
            "version": __version__,
        }
    )


@lru_cache(maxsize=16)
def encoded_start(mechanisms: str, cluster_name: str) -> bytes:
    """The same for all clients of a listener."""
    return ConnectionStart(VERSION_MAJOR, VERSION_MINOR, server_properties(cluster_name), mechanisms).encode()


def address(socket_name: Any) -> str:
    if not isinstance(socket_name, tuple):
        return str(socket_name or "?")
    host, port = socket_name[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(peer: Any) -> bool:
    return isinstance(peer, tuple) and is_loopback_host(peer[0])


@lru_cache(maxsize=1024)
def is_loopback_host(host: str) -> bool:
    try:
        found = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return (mapped or found).is_loopback


def wait_for_turn(session: "Session") -> None:
    transport = session.connection.transport
    found = None if transport is None else transport.get_extra_info("socket")
    # Whoever asks through the HTTP API has none.
    seconds = seconds_to_turn(session.node, -1 if found is None else found.fileno())
    if seconds is None:
        session.abort()
    else:
        session.turn_at = time.monotonic() + seconds


def seconds_to_turn(node: "Node", descriptor: int) -> float | None:
    """Not too many clients at once before their log-in, and not too fast. None: the one that came last must go."""
    settings, limits = node.settings, node.broker.limits
    if not node.open_files.has_room_for(descriptor):
        limits.refused["open_files"] += 1
        return None
    most = settings.limits.handshakes_max
    if node.alarms.is_memory_very_short:
        most = min(most or HANDSHAKES_SCARCE, HANDSHAKES_SCARCE)
    if most and len(node.sessions) + node.arriving - limits.open_connections > most:
        limits.refused["handshakes"] += 1
        return None
    seconds = node.pace.wait_seconds(time.monotonic(), settings.amqp.handshake_timeout)
    if seconds is None:
        limits.refused["accept_rate"] += 1
    return seconds


def sent_too_much(session: "Session") -> None:
    octets_max = session.node.settings.limits.unauthenticated_bytes_max
    text = f"more than {octets_max} octets before connection.open"
    session.failed(0, 0, 0, FrameError(text, limit="unauthenticated_bytes"))
    session.connection.become_deaf()


def protocol_header(session: "Session", octets: bytes) -> None:
    """Answered when it is this client's turn. Until then nothing else that it sends is read."""
    seconds = session.turn_at - time.monotonic()
    if seconds > 0:
        session.connection.hold()
        session.node.loop.call_later(seconds, turn_has_come, session, octets)
    else:
        answer_header(session, octets)


def turn_has_come(session: "Session", octets: bytes) -> None:
    if session.connection.transport is not None:
        answer_header(session, octets)
        session.connection.release()


def answer_header(session: "Session", octets: bytes) -> None:
    if octets in (PROTOCOL_HEADER, PROTOCOL_HEADER_0_9):
        session.connection.begin_handshake()
        if session.node.tokens is not None:
            session.connection.limit_frames(TOKEN_FRAME_BYTES)
        cluster_name = session.node.broker.parameters.cluster_name
        session.connection.send(0, encoded_start(" ".join(offered(session)), cluster_name))
        return
    log.warning("connection %s: %s", session.name, what_it_may_be(octets))
    session.connection.become_deaf()
    session.connection.send_octets(PROTOCOL_HEADER)
    session.finish()


def what_it_may_be(octets: bytes, port: str = "AMQP port", missing: str = "") -> str:
    """The first octets of a client that is none of ours, in words. `missing`: what it should have begun with."""
    if octets.startswith(TLS_HANDSHAKE):
        return f"TLS client detected on non-TLS {port}"
    if octets.startswith(HTTP_METHODS):
        return f"HTTP client detected on {port}"
    if octets.startswith(AMQP_1_0):
        return f"AMQP 1.0 client detected on {port}: only AMQP 0-9-1 is spoken here"
    if missing and octets.startswith(b"AMQP"):
        return f"AMQP client without {missing} detected on {port}"
    if octets.startswith(PROXY_HEADERS):
        return f"PROXY protocol header detected on {port}, from a client that is no trusted proxy"
    if octets[:1] == bytes([MQTT_CONNECT]) and b"MQ" in octets:
        return f"MQTT client detected on {port}"
    return f"unsupported protocol header {octets!r}"


def only_on_channel_0(number: int) -> None:
    if number:
        raise ChannelError("unexpected method in connection state starting")


def check_close(session: "Session", method: Method) -> bool:
    """A client may give up at any step, and answers when we do."""
    if isinstance(method, ConnectionClose):
        session.client_closes(method)
        return True
    if isinstance(method, ConnectionCloseOk) and session.connection.closing:
        session.finish()
        return True
    return False


def expected(method: Method) -> CommandInvalid:
    return CommandInvalid(f"unexpected {method.NAME} during the handshake")


def start_ok(session: "Session", number: int, method: Method) -> None:
    only_on_channel_0(number)
    if check_close(session, method):
        return
    if not isinstance(method, ConnectionStartOk):
        raise expected(method)
    session.client_properties = method.client_properties
    capabilities = method.client_properties.get("capabilities")
    session.capabilities = capabilities if isinstance(capabilities, dict) else {}
    session.mechanism = method.mechanism
    log_in(session, method.mechanism, method.response)


def log_in(session: "Session", mechanism: str, response: bytes) -> None:
    if mechanism not in offered(session):
        raise CommandInvalid(f"unknown authentication mechanism '{mechanism}'")

    def answered(name: str, user: User | str) -> None:
        if isinstance(user, str):
            log.warning("connection %s: log-in of user %r refused: %s", session.name, name, user)
            refuse_log_in(session, mechanism, is_wrong=user not in (TOO_MANY, NOT_CHECKED))
        else:
            session.mechanism = mechanism
            admit(session, user)

    MECHANISMS[mechanism](session, response, answered)


def admit(session: "Session", user: User) -> None:
    """Whoever it is has shown that they are."""
    session.node.churn.log_ins_succeeded += 1
    session.node.logged_in(session, user)
    amqp = session.node.settings.amqp
    session.handler = tune_ok
    session.send(0, ConnectionTune(amqp.channel_max, amqp.frame_max, amqp.heartbeat))


def refuse_log_in(session: "Session", mechanism: str, *, is_wrong: bool) -> None:
    session.node.churn.log_ins_failed += 1
    if not is_wrong:
        # Nobody knows. To many clients a refusal is final, and a lost connection is not.
        session.node.broker.limits.refused["log_ins"] += 1
        session.abort()
        return
    if session.can("authentication_failure_close"):
        error = AccessRefused(
            f"Login was refused using authentication mechanism {mechanism}. For details see the broker logfile."
        )
        session.send(0, ConnectionClose(error.code, error.reply_text()))
    session.connection.begin_closing()
    session.abort_later(REFUSED_SECONDS)


def tune_ok(session: "Session", number: int, method: Method) -> None:
    only_on_channel_0(number)
    if check_close(session, method):
        return
    if not isinstance(method, ConnectionTuneOk):
        raise expected(method)
    amqp = session.node.settings.amqp
    check_tuned("frame_max", method.frame_max, FRAME_MIN_BYTES, amqp.frame_max)
    check_tuned("channel_max", method.channel_max, 1, amqp.channel_max)
    session.connection.limit_frames(method.frame_max)
    session.channel_max = method.channel_max
    session.frame_max = method.frame_max
    session.heartbeat_seconds = method.heartbeat
    session.handler = open_


def check_tuned(name: str, value: int, minimum: int, maximum: int) -> None:
    """0 stands for no limit at all, which is more than ours."""
    wrong = ""
    if value == 0 or value > maximum:
        wrong = f"higher than the maximum allowed value ({maximum})"
    elif value < minimum:
        wrong = f"lower than the minimum allowed value ({minimum})"
    if wrong:
        tune = ConnectionTune
        raise NotAllowed(f"negotiated {name} = {value} is {wrong}", class_id=tune.CLASS_ID, method_id=tune.METHOD_ID)


def open_(session: "Session", number: int, method: Method) -> None:
    only_on_channel_0(number)
    if check_close(session, method):
        return
    if not isinstance(method, ConnectionOpen):
        raise expected(method)
    # Refused only here, where RabbitMQ refuses it, so that clients get to see the reason.
    limits, limit = session.node.broker.limits, session.node.settings.limits.connections_max
    if limit and limits.open_connections >= limit:
        raise NotAllowed(f"connection refused: node connection limit ({limit}) is reached", limit="node_connections")
    vhost = session.node.broker.vhost(method.virtual_host)
    limits.check_vhost_connection(vhost.name, session.user_name)
    limits.check_user_connection(session.user_name)
    session.open(permitted_vhost(session, method.virtual_host))
    session.send(0, ConnectionOpenOk())


def permitted_vhost(session: "Session", name: str) -> VHost:
    vhost = session.node.broker.vhost(name)
    assert session.user is not None, "the log-in comes before"
    if session.user.permission(name) is None:
        raise NotAllowed(f"access to vhost '{name}' refused for user '{session.user.name}'")
    return vhost
