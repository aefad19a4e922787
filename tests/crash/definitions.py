"""Durable and passing definitions: a thread that makes and deletes them, and the check of what a restart kept.

What was answered with -ok must be there afterwards, or gone for good; the one operation that was on its way when the
broker died may have happened or not.
"""

from typing import Any, NamedTuple

from tests.crash.history import History
from tests.crash.load import Progress, Worker
from tests.support.codec import Method
from tests.support.peer import Peer
from tests.support.wire import Client, connect

QUEUES = [f"definition-queue-{number}" for number in range(6)]
EXCHANGES = [(f"definition-exchange-{number}", kind) for number, kind in enumerate(("direct", "topic", "direct"))]
PASSING_QUEUE, EXCLUSIVE_QUEUE = "passing-queue", "exclusive-queue"
PASSING_EXCHANGE = "passing-exchange"


class Definition(NamedTuple):
    """A queue, an exchange, or a binding from exchange to queue whose key is the queue's name."""

    kind: str
    name: str
    queue: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.name}" + (f" to {self.queue}" if self.queue else "")


class Known:
    """What there is, as far as answers tell."""

    def __init__(self) -> None:
        self.present: set[Definition] = set()
        self.unsure: set[Definition] = set()

    def begin(self, *changed: Definition) -> None:
        self.unsure.update(changed)

    def finish(self, *changed: Definition, present: bool) -> None:
        self.unsure.difference_update(changed)
        if present:
            self.present.update(changed)
        else:
            self.present.difference_update(changed)

    def with_bindings(self, owner: Definition) -> list[Definition]:
        """What goes when this goes."""
        touched = [known for known in self.present if known.kind == "binding" and owner.name in known[1:]]
        return [owner, *touched]


class Definer(Worker):
    """Makes and deletes at random, one call after another."""

    def __init__(self, peer: Peer, history: History, progress: Progress, known: Known, seed: str) -> None:
        self.known = known
        super().__init__(peer, history, progress, seed)

    def prepare(self) -> None:
        self.channel = self.client.channel()
        self.channel.queue(PASSING_QUEUE)
        self.channel.queue(EXCLUSIVE_QUEUE, durable=True, exclusive=True)
        self.channel.call("exchange.declare", exchange=PASSING_EXCHANGE, type="direct")
        self.channel.call("queue.bind", queue=PASSING_QUEUE, exchange="amq.direct", routing_key="passing")

    def work(self) -> None:
        steps = (self._declare_queue, self._declare_exchange, self._bind, self._bind, self._unbind, self._delete)
        while True:
            self.dice.choice(steps)()

    def take(self, method: Method) -> None:
        """Answers are taken where the questions are asked; what comes after the end changes nothing."""

    def _change(self, name: str, *changed: Definition, present: bool, **fields: Any) -> None:
        self.known.begin(*changed)
        self.channel.call(name, **fields)
        self.known.finish(*changed, present=present)

    def _declare_queue(self) -> None:
        queue = self.dice.choice(QUEUES)
        self._change("queue.declare", Definition("queue", queue), present=True, queue=queue, durable=True)

    def _declare_exchange(self) -> None:
        name, kind = self.dice.choice(EXCHANGES)
        changed = Definition("exchange", name)
        self._change("exchange.declare", changed, present=True, exchange=name, type=kind, durable=True)

    def _bind(self) -> None:
        queue, (exchange, _) = self.dice.choice(QUEUES), self.dice.choice(EXCHANGES)
        if {Definition("queue", queue), Definition("exchange", exchange)} <= self.known.present:
            self._change_binding("queue.bind", exchange, queue, present=True)

    def _unbind(self) -> None:
        bindings = sorted(known for known in self.known.present if known.kind == "binding")
        if bindings:
            binding = self.dice.choice(bindings)
            self._change_binding("queue.unbind", binding.name, binding.queue, present=False)

    def _change_binding(self, name: str, exchange: str, queue: str, *, present: bool) -> None:
        changed = Definition("binding", exchange, queue)
        self._change(name, changed, present=present, exchange=exchange, queue=queue, routing_key=queue)

    def _delete(self) -> None:
        owners = sorted(known for known in self.known.present if known.kind != "binding")
        if owners and self.dice.random() < 0.3:
            owner = self.dice.choice(owners)
            fields = {owner.kind: owner.name}
            self._change(f"{owner.kind}.delete", *self.known.with_bindings(owner), present=False, **fields)


# --------------------------------------------------------------------------------------------- after the restart


def check_definitions(peer: Peer, known: Known, history: History) -> None:
    """Compare, then believe the broker where nobody could know."""
    with connect(peer) as client:
        there = _found(client)
        for definition in sorted(known.present | there):
            expected = definition in known.present
            if definition in known.unsure or (definition in there) == expected:
                continue
            history.fault(f"{definition} is {'lost' if expected else 'back'}")
        for name in (PASSING_QUEUE, EXCLUSIVE_QUEUE):
            if exists(client, "queue", name):
                history.fault(f"queue {name} outlived its broker")
        if exists(client, "exchange", PASSING_EXCHANGE):
            history.fault(f"exchange {PASSING_EXCHANGE} outlived its broker")
    known.present = there
    known.unsure.clear()


def exists(client: Client, kind: str, name: str) -> bool:
    channel = client.channel()
    channel.send(f"{kind}.declare", passive=True, **{kind: name})
    answer = channel.expect(f"{kind}.declare-ok", "channel.close")
    if answer.name == "channel.close":
        assert answer.reply_code == 404, str(answer)
        channel.send("channel.close-ok")
        return False
    channel.close()
    return True


def _found(client: Client) -> set[Definition]:
    queues = {Definition("queue", name) for name in QUEUES if exists(client, "queue", name)}
    exchanges = {Definition("exchange", name) for name, _ in EXCHANGES if exists(client, "exchange", name)}
    channel = client.channel()
    channel.call("confirm.select")
    bindings = set()
    for exchange in exchanges:
        for queue in QUEUES:
            channel.publish(exchange.name, queue, b"", mandatory=True)
            answer = channel.expect("basic.return", "basic.ack")
            if answer.name == "basic.return":
                channel.expect("basic.ack")
            else:
                bindings.add(Definition("binding", exchange.name, queue))
    for definition in queues:
        channel.call("queue.purge", queue=definition.name)
    return queues | exchanges | bindings
