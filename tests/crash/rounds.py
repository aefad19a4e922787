"""A campaign: load, kill, start again on the same directory, take out everything, judge; and again.

The history spans the whole campaign, so that what one round settled must stay away in all later ones. Which moment a
kill hits is drawn: so many confirms and deliveries in, plus a few milliseconds that nobody chose.
"""

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Protocol, Self

from tests.crash.definitions import Definer, Known, check_definitions, exists
from tests.crash.history import Copy, History, Promises, Sure, Taken
from tests.crash.load import NOTE_EXCHANGE, QUEUES, Consumer, Progress, Publisher, Worker, declare_load
from tests.support.peer import Peer
from tests.support.wire import Channel, connect

EVENTS = (200, 3000)  # confirms and deliveries before the kill, at least and at most
EVENTS_SECONDS = 60.0
KILL_DELAY_SECONDS = 0.02
POLITE_SHARE = 0.1  # of the rounds end with SIGTERM: an orderly end keeps no less
GETS_AT_ONCE = 100


class Running(Protocol):
    """A broker that can be killed and started again on what it left behind."""

    @property
    def peer(self) -> Peer: ...
    def kill(self) -> None: ...
    def stop(self) -> None: ...
    def again(self) -> Self: ...


class Campaign:
    def __init__(self, start: Callable[[], Running], seed: str, promises: Promises | None = None) -> None:
        self.seed = seed
        self.dice = random.Random(seed)
        self.history = History(promises or Promises())
        self.known = Known()
        self.tally: Counter[str] = Counter()
        self.rounds = 0
        self.broker = start()
        with connect(self.broker.peer) as client:
            declare_load(client.channel())

    def round(self) -> None:
        """One load and one death, judged; raises with all faults found."""
        self.rounds += 1
        workers = self._load()
        self.history.broker_died()
        self.broker = self.broker.again()
        check_definitions(self.broker.peer, self.known, self.history)
        self._look_at(workers)
        self._drain()
        self.history.check()

    def _load(self) -> list[Worker]:
        progress = Progress()
        workers = self._workers(progress)
        for worker in workers:
            worker.thread.start()
        wanted = self.dice.randint(*EVENTS)
        if not progress.wait_for(wanted, EVENTS_SECONDS):
            self.history.fault(f"the load came to {progress.count} of {wanted} events and stood still or was ended")
        self._end_broker(progress)
        for worker in workers:
            worker.thread.join()
        self.tally["events"] += progress.count
        return workers

    def _workers(self, progress: Progress) -> list[Worker]:
        peer, history, seed = self.broker.peer, self.history, f"{self.seed}/{self.rounds}"
        return [
            Publisher(peer, history, progress, self.rounds, f"{seed}/publisher"),
            Consumer(peer, history, progress, f"{seed}/consumer"),
            Definer(peer, history, progress, self.known, f"{seed}/definer"),
        ]

    def _end_broker(self, progress: Progress) -> None:
        if self.dice.random() < POLITE_SHARE:
            self.tally["stops"] += 1
            self.broker.stop()
            return
        threading.Event().wait(self.dice.random() * KILL_DELAY_SECONDS)  # a moment of no one's choosing
        if progress.stopped:
            self.history.fault("a client's connection ended before the broker was killed")
        self.tally["kills"] += 1
        self.broker.kill()

    def _look_at(self, workers: list[Worker]) -> None:
        for worker in workers:
            if worker.trouble and not (self._was_polite(worker.trouble)):
                self.history.fault(worker.trouble)

    @staticmethod
    def _was_polite(trouble: str) -> bool:
        """A stopping broker says so to its clients, who have no word for it."""
        return "CONNECTION_FORCED" in trouble

    # ---------------------------------------------------------------------------------------------------- the drain

    def _drain(self) -> None:
        """Take everything out; then settle all of it, some or none, as drawn, and leave the rest to the next round."""
        share = self.dice.choice((1.0, 1.0, 0.5, 0.0))
        with connect(self.broker.peer) as client:
            channel = client.channel()
            queues = [queue for queue in QUEUES if exists(client, "queue", queue)]
            taken = [copy for queue in queues for copy in self._take_all(channel, queue)]
            copies = [copy for _, copy in taken]
            for queue in set(QUEUES) - set(queues):
                self.history.fault(f"queue {queue} is lost, and all that was in it")
            self.history.drained({(copy.queue, copy.message) for copy in copies})
            self.tally["drained"] += len(copies)
            settled = [(tag, copy) for tag, copy in taken if self.dice.random() < share]
            self._settle(channel, settled)
            self._wait_for_the_disk(channel)
            self.history.answered([copy for _, copy in settled], copies, Sure.SYNCED)
            client.close()
        settled_copies = {id(copy) for _, copy in settled}
        self.history.given_up(copy for copy in copies if id(copy) not in settled_copies)

    def _take_all(self, channel: Channel, queue: str) -> Iterator[tuple[int, Copy]]:
        while True:
            for _ in range(GETS_AT_ONCE):
                channel.send("basic.get", queue=queue)
            answers = [channel.expect("basic.get-ok", "basic.get-empty") for _ in range(GETS_AT_ONCE)]
            found = [answer for answer in answers if answer.name == "basic.get-ok"]
            for answer in found:
                copy = self.history.taken(Taken(queue, answer.body, answer.properties, answer.redelivered))
                if copy is not None:
                    yield answer.delivery_tag, copy
            if len(found) < GETS_AT_ONCE:
                return

    def _settle(self, channel: Channel, settled: list[tuple[int, Copy]]) -> None:
        self.history.acknowledging(copy for _, copy in settled)
        for tag, _ in settled:
            channel.ack(tag)
        self.tally["settled"] += len(settled)

    def _wait_for_the_disk(self, channel: Channel) -> None:
        for name in ("queue.bind", "queue.unbind"):
            channel.call(name, queue=QUEUES[0], exchange=NOTE_EXCHANGE, routing_key=f"{self.seed}/{self.rounds}")

    def close(self) -> None:
        self.broker.kill()

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {name}" for name, count in sorted(self.tally.items()))
        return f"{self.rounds} rounds: {counts}"
