"""An error of ours in the middle of work in turns: the client is told with 541, nobody waits any longer, and no queue
stays held."""

from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from flowmq._clock import set_clock
from flowmq._dead_letters import is_anyone_unburied, set_burials_in_turn
from flowmq._order import told_ms
from flowmq.broker.policies import Policy
from flowmq.broker.queues import DeclaredQueue
from flowmq.broker.rules import VHostRules
from flowmq.server import consuming, expiry, methods, takeover
from tests.support import codec
from tests.unit.support_plane import Client, Plane, Timer, publish_frames
from tests.unit.support_turns import BODIES, CLOSE, COUNT, bodies, consume, names

COMMIT = codec.method_frame(1, "tx.commit")
NACK = codec.method_frame(1, "basic.nack", delivery_tag=0, multiple=True, requeue=True)
CANCEL = codec.method_frame(1, "basic.cancel", consumer_tag="q")


class Mistake(Exception):
    """What nobody has thought of."""


def fail_once(monkeypatch: pytest.MonkeyPatch, of: object, name: str, when: int = 1) -> None:
    """Its call of that number fails."""
    meant, calls = getattr(of, name), iter(range(1, 1000))

    def called(*given: object) -> object:
        if next(calls) == when:
            raise Mistake
        return meant(*given)

    monkeypatch.setattr(of, name, called)


def fail_always(monkeypatch: pytest.MonkeyPatch, of: object, name: str) -> None:
    def called(*_: object) -> None:
        raise Mistake

    monkeypatch.setattr(of, name, called)


def let_pass(milliseconds: int) -> None:
    ends_ms = told_ms() + milliseconds
    while told_ms() < ends_ms:
        set_clock()


@pytest.fixture
def holder(plane: Plane, publisher: Client) -> Client:
    """Holds everything, and consumes nothing any more."""
    holder = plane.client(1)
    assert len(consume(holder, "q")) == COUNT
    holder.feed(CANCEL)
    holder.received()
    return holder


@pytest.fixture
def doomed(monkeypatch: pytest.MonkeyPatch, neighbour: Client) -> Client:
    """What is rejected from this queue has nowhere to go, and saying so fails once."""
    fail_once(monkeypatch, VHostRules, "letter_lost")
    neighbour.call(1, "queue.declare", queue="doomed", arguments={"x-dead-letter-exchange": "nowhere"})
    return neighbour


def is_told(client: Client) -> bool:
    return [method.reply_code for method in client.received() if method.name == "connection.close"] == [541]


def gets_everything(plane: Plane, publisher: Client) -> None:
    """What has come back, in order, and what comes."""
    waiting = plane.client(1)
    assert [body for body, _ in bodies_of(consume(waiting, "q"))] == BODIES
    publisher.feed(publish_frames(1, "q", b"later"))
    assert bodies(waiting) == [(b"later", False)]


def bodies_of(deliveries: list[codec.Method]) -> list[tuple[bytes, bool]]:
    return [(method.body, method.redelivered) for method in deliveries]


def stage(client: Client) -> None:
    """In a transaction: some of the messages of "q" come back, then one of "doomed" is rejected, then others come
    back."""
    client.publish(1, "doomed")
    client.send(1, "basic.get", queue="doomed")
    client.send(1, "tx.select")
    for tag in [*range(1, COUNT // 2), COUNT + 1, *range(COUNT // 2, COUNT + 1)]:
        client.send(1, "basic.nack", delivery_tag=tag, requeue=tag <= COUNT)
    client.received()


@pytest.mark.parametrize("is_lost", [False, True])
def test_of_a_transaction_what_has_not_happened_goes_back_with_the_rest(
    plane: Plane, doomed: Client, publisher: Client, holder: Client, is_lost: bool
) -> None:
    stage(holder)
    holder.read(COMMIT)
    if is_lost:
        holder.connection.connection_lost(None)
    plane.loop.run()
    assert is_told(holder) == (not is_lost)
    assert plane.queue("q").unacked_count == 0
    gets_everything(plane, publisher)


def test_of_a_transaction_in_one_go(
    monkeypatch: pytest.MonkeyPatch, plane: Plane, doomed: Client, publisher: Client, holder: Client
) -> None:
    monkeypatch.setattr(methods, "COMMITTED_AT_ONCE", 1000)
    stage(holder)
    holder.feed(COMMIT)
    assert is_told(holder)
    gets_everything(plane, publisher)


def test_of_a_transaction_whose_connection_ends_orderly_after_that(
    plane: Plane, doomed: Client, publisher: Client, holder: Client
) -> None:
    stage(holder)
    holder.feed(COMMIT + codec.method_frame(0, "connection.close-ok"))
    assert is_told(holder)
    assert holder.transport.closed


def dying(plane: Plane, client: Client) -> None:
    """Of "q" everything that comes back too often dies, and has nowhere to go."""
    arguments = {"x-dead-letter-exchange": "nowhere", "x-delivery-limit": 0}
    client.call(1, "queue.declare", queue="short", arguments=arguments)
    client.publish(1, "short")


def test_of_a_settlement(monkeypatch: pytest.MonkeyPatch, plane: Plane, publisher: Client, holder: Client) -> None:
    def fails(_: object) -> Iterator[None]:
        yield
        raise Mistake

    monkeypatch.setattr(consuming, "settle_rest", fails)
    holder.feed(NACK)
    assert is_told(holder)
    gets_everything(plane, publisher)


@pytest.mark.parametrize("way", ["channel", "connection", "lost"])
def test_of_what_comes_back(
    monkeypatch: pytest.MonkeyPatch, plane: Plane, publisher: Client, holder: Client, way: str
) -> None:
    fail_once(monkeypatch, VHostRules, "letter_lost")
    dying(plane, publisher)
    holder.send(1, "basic.get", queue="short")
    holder.received()
    {
        "channel": lambda: holder.read(CLOSE),
        "connection": lambda: holder.read(codec.method_frame(0, "connection.close", reply_code=200)),
        "lost": lambda: holder.connection.connection_lost(None),
    }[way]()
    plane.loop.run()
    answers = [method.name for method in holder.received()]
    told = ["connection.close"] if way == "channel" else []
    assert answers == (["connection.close-ok"] if way == "connection" else told)
    assert plane.queue("q").unacked_count == 0
    gets_everything(plane, publisher)
    if way == "lost":
        assert holder.session not in plane.node.sessions


def test_of_consumers_that_leave(monkeypatch: pytest.MonkeyPatch, plane: Plane, neighbour: Client) -> None:
    leaver = plane.client(1)
    for name in BODIES:
        neighbour.call(1, "queue.declare", queue=name.decode(), auto_delete=True)
        leaver.call(1, "basic.consume", queue=name.decode(), consumer_tag=name.decode())
    vhost = plane.node.broker.vhosts["/"]
    fail_once(monkeypatch, type(vhost), "consumer_left", 5)
    leaver.feed(CLOSE)
    assert is_told(leaver)
    assert set(vhost.queues) == {"q", "other", "4"}


@pytest.mark.parametrize("way", ["lost", "forced", "evicted"])
def test_of_what_was_settled_when_the_connection_ends(
    plane: Plane, doomed: Client, publisher: Client, holder: Client, way: str
) -> None:
    """What had not been settled goes back all the same, and whoever can be told is."""
    doomed.publish(1, "doomed")
    for body in BODIES:
        doomed.publish(1, "other", body)
    holder.send(1, "basic.get", queue="doomed")
    holder.received()
    assert len(consume(holder, "other")) == COUNT
    holder.read(codec.method_frame(1, "basic.nack", delivery_tag=COUNT + 1, multiple=True))
    {
        "lost": lambda: holder.connection.connection_lost(None),
        "forced": lambda: holder.session.force("test"),
        "evicted": lambda: holder.session.evict("test"),
    }[way]()
    plane.loop.run()
    codes = [method.reply_code for method in holder.received() if method.name == "connection.close"]
    assert codes == ([320] if way == "forced" else [])
    assert (plane.queue("q").message_count, plane.queue("q").unacked_count) == (0, 0)
    assert [body for body, _ in bodies_of(consume(publisher, "other"))] == BODIES
    if way == "lost":
        assert holder.session not in plane.node.sessions


def test_of_many_that_come_back(monkeypatch: pytest.MonkeyPatch, plane: Plane, neighbour: Client) -> None:
    """Each is an error: the others go back, and the client that closes is answered."""
    fail_always(monkeypatch, VHostRules, "letter_lost")
    dying(plane, neighbour)
    for _ in range(COUNT):
        neighbour.publish(1, "short")
    neighbour.publish(1, "q", b"x")
    client = plane.client(1)
    consume(client, "short")
    consume(client, "q")
    client.read(codec.method_frame(0, "connection.close", reply_code=200))
    plane.loop.run()
    assert names(client) == ["connection.close-ok"]
    assert plane.queue("short").unacked_count == 0
    assert bodies_of(consume(neighbour, "q")) == [(b"x", True)]


def test_of_messages_that_fall_due(monkeypatch: pytest.MonkeyPatch, plane: Plane, neighbour: Client) -> None:
    fail_once(monkeypatch, VHostRules, "letter_lost")
    calls = list[object]()
    monkeypatch.setattr(plane.loop, "call_later", lambda seconds, callback: calls.append(callback) or Timer())
    for name in BODIES:
        arguments = {"x-dead-letter-exchange": "nowhere", "x-message-ttl": 1}
        neighbour.call(1, "queue.declare", queue=name.decode(), arguments=arguments)
        neighbour.publish(1, name.decode())
    let_pass(5)
    calls.clear()
    with pytest.raises(Mistake):
        plane.node._fall_due()
    assert calls == [plane.node._fall_due]
    assert [plane.queue(name.decode()).message_count for name in BODIES] == [0] * COUNT
    plane.node._fall_due()
    assert calls == [plane.node._fall_due]


def test_of_dead_letters_that_were_put_off(monkeypatch: pytest.MonkeyPatch, plane: Plane, neighbour: Client) -> None:
    before = set_burials_in_turn(0)
    fail_always(monkeypatch, VHostRules, "letter_lost")
    dying(plane, neighbour)
    for _ in range(COUNT):
        neighbour.publish(1, "short")
    consume(neighbour, "short")
    neighbour.read(codec.method_frame(1, "basic.nack", delivery_tag=0, multiple=True))
    set_burials_in_turn(before)
    while plane.loop.soon:
        callback, arguments = plane.loop.soon.popleft()
        with suppress(Mistake):
            callback(*arguments)
    assert not is_anyone_unburied()
    assert plane.queue("short").unacked_count == 0


def test_of_what_was_held_for_too_long(monkeypatch: pytest.MonkeyPatch, plane: Plane, neighbour: Client) -> None:
    neighbour.call(1, "queue.declare", queue="slow", arguments={"x-consumer-timeout": 1})
    holders = [plane.client(1) for _ in range(3)]
    for client in holders:
        neighbour.publish(1, "slow")
        consume(client, "slow", 1)
    let_pass(5)
    fail_once(monkeypatch, consuming, "overdue_returned")
    looked = list[bool]()
    monkeypatch.setattr(plane.node.alarms, "look_at_memory", lambda: looked.append(True))
    plane.node._keep_house()
    plane.loop.run()
    assert looked == [True]
    assert sum(is_told(client) for client in (neighbour, *holders)) == 1


def test_of_queues_that_nobody_uses(monkeypatch: pytest.MonkeyPatch, plane: Plane, neighbour: Client) -> None:
    for name in BODIES:
        neighbour.call(1, "queue.declare", queue=name.decode(), arguments={"x-expires": 1})
    vhost = plane.node.broker.vhosts["/"]
    fail_once(monkeypatch, type(vhost), "delete_queue", 5)
    let_pass(5)
    plane.node._keep_house()
    assert set(vhost.queues) == {"q", "other", "4"}


def test_of_a_virtual_host_that_goes(monkeypatch: pytest.MonkeyPatch, plane: Plane) -> None:
    broker = plane.node.broker
    vhost = broker.create_vhost("v")
    for name in BODIES:
        vhost.declare_queue(name.decode(), None)
    fail_once(monkeypatch, type(vhost), "delete_queue", 5)
    fail_once(monkeypatch, type(vhost), "remove_exchange", 2)
    for _ in broker.delete_vhost("v"):
        pass
    assert list(vhost.queues) == ["4"]
    assert len(vhost.declared_exchanges) == 2
    assert not broker.create_vhost("v").queues


def test_of_a_policy_that_comes_to_queues(monkeypatch: pytest.MonkeyPatch, plane: Plane, neighbour: Client) -> None:
    """Those set later come to all queues."""
    policies = plane.node.broker.vhosts["/"].policies
    fail_once(monkeypatch, DeclaredQueue, "apply")
    for length in (1, 2):
        policies.set(Policy("p", pattern="", vhost="/", definition={"max-length": length}))
    plane.loop.run()
    assert {declared.settings.max_length for declared in plane.node.broker.vhosts["/"].queues.values()} == {2}


def test_of_exclusive_queues_that_go(monkeypatch: pytest.MonkeyPatch, plane: Plane) -> None:
    owner = plane.client(1)
    for name in BODIES:
        owner.call(1, "queue.declare", queue=name.decode(), exclusive=True)
    vhost = plane.node.broker.vhosts["/"]
    fail_once(monkeypatch, type(vhost), "delete_queue", 5)
    owner.connection.connection_lost(None)
    plane.loop.run()
    assert list(vhost.queues) == ["4"]
    assert owner.session not in plane.node.sessions


def test_of_the_question_whether_another_connection_is_dead(
    monkeypatch: pytest.MonkeyPatch, plane: Plane, neighbour: Client
) -> None:
    client = plane.client(1)
    probe = takeover.Probe(client.session, neighbour.session, lambda is_gone: None)
    probe.begin()
    client.read(codec.method_frame(1, "queue.declare", queue="other"))
    assert client.received() == []
    fail_once(monkeypatch, takeover, "socket_of")
    probe._look()
    plane.loop.run()
    assert is_told(client)
    client.send(0, "connection.close-ok")
    assert client.transport.closed


def test_of_what_an_answer_leads_to(monkeypatch: pytest.MonkeyPatch, plane: Plane) -> None:
    client, answers = plane.client(1), list[Callable[[object], None]]()
    monkeypatch.setattr(plane.node.authenticator, "log_in", lambda *_, answer, **__: answers.append(answer) or int)
    fail_once(monkeypatch, expiry, "renew")
    client.feed(codec.method_frame(0, "connection.update-secret", new_secret="guest", reason=""))
    for answer in answers:
        answer(client.session.user)
    plane.loop.run()
    assert is_told(client)
    client.send(0, "connection.close-ok")
    assert client.transport.closed
