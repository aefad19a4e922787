"""How a client shows who it is: one function for each SASL mechanism, and which of them are offered to whom.

Each ends in `admitted` or `refused`, at once or later. Whether a password is right is authentication.py's affair, what
a certificate is called certificate_names.py's.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from flowmq.amqp.sasl import parse_amqplain, parse_plain
from flowmq.broker.users import User
from flowmq.server.authentication import NO_SUCH_USER, NOT_FROM_THERE
from flowmq.server.certificate_names import NoName, client_name

if TYPE_CHECKING:
    from flowmq.server.session import Session

Answer = Callable[[str, User | str], None]  # who the client says it is; the user, or why not
LogIn = Callable[["Session", bytes, Answer], None]


def authenticate(session: "Session", name: str, password: str, answered: Callable[[User | str], None]) -> None:
    """Calls `answered` with the user, or why not. Until then nothing else on this connection is dealt with."""
    waiting = False

    def answer(user: User | str) -> None:
        session.stop_waiting = None
        try:
            if session.connection.transport is not None and not session.connection.closing:
                answered(user)
        except Exception as error:
            if not waiting:
                raise
            session.failed(0, 0, 0, error)
        if waiting:
            session.go_on()

    stop = session.node.authenticator.log_in(
        name, password, from_loopback=session.from_loopback, answer=answer, source=session.source
    )
    if stop is not None:
        waiting = True
        session.stop_waiting = stop
        session.wait()


def by_password(parse: Callable[[bytes], tuple[str, str]]) -> LogIn:
    def log_in(session: "Session", response: bytes, answer: Answer) -> None:
        name, password = parse(response)
        if session.entry.by_ticket is not None:
            answer(name, session.entry.by_ticket(password))
            return
        authenticate(session, name, password, lambda user: answer(name, user))

    return log_in


def external(session: "Session", response: bytes, answer: Answer) -> None:
    """By the certificate that TLS has checked. What the client says besides means nothing, as in RabbitMQ."""
    certificate = client_certificate(session)
    if certificate is None:
        answer("", "there is no client certificate")
        return
    try:
        name = client_name(certificate, session.node.settings.tls.external_name)
    except NoName as error:
        answer("", str(error))
    else:
        answer(name, user_without_password(session, name))


def anonymous(session: "Session", response: bytes, answer: Answer) -> None:
    name = session.node.settings.amqp.anonymous_user
    answer(name, user_without_password(session, name))


def user_without_password(session: "Session", name: str) -> User | str:
    users = session.node.broker.users
    user = users.by_name.get(name)
    if user is None:
        return NO_SUCH_USER
    return user if users.may_log_in(user, from_loopback=session.from_loopback) else NOT_FROM_THERE


def client_certificate(session: "Session") -> bytes | None:
    transport = session.connection.transport
    secured = None if transport is None else transport.get_extra_info("ssl_object")
    shown: bytes | None = None if secured is None else secured.getpeercert(binary_form=True)
    return shown


MECHANISMS: dict[str, LogIn] = {
    "PLAIN": by_password(parse_plain),
    "AMQPLAIN": by_password(parse_amqplain),
    "EXTERNAL": external,
    "ANONYMOUS": anonymous,
}


def offered(session: "Session") -> list[str]:
    """Those of the listener; a client without a certificate cannot show one."""
    mechanisms = session.entry.mechanisms
    if "EXTERNAL" in mechanisms and client_certificate(session) is None:
        return [name for name in mechanisms if name != "EXTERNAL"]
    return list(mechanisms)
