"""Random histories of queues, written as segments and read back: a plain dict is the judge."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from flowmq._replay import Replay
from tests.support import journal_writer as write
from tests.support.journal_writer import Segment

SEQUENCES = st.integers(1, 30)
QUEUES = st.integers(1, 3)
STEPS = st.one_of(
    st.tuples(st.just("message"), QUEUES, SEQUENCES, st.integers(0, 3), st.booleans(), st.binary(max_size=12)),
    st.tuples(st.just("shared"), st.lists(QUEUES, min_size=2, max_size=3, unique=True), SEQUENCES),
    st.tuples(st.just("settled"), QUEUES, SEQUENCES, st.integers(0, 6)),
    st.tuples(st.just("delivered"), QUEUES, SEQUENCES),
    st.tuples(st.just("returned"), QUEUES, SEQUENCES, st.integers(1, 4)),
    st.tuples(st.just("state"), QUEUES),
    st.tuples(st.just("gone"), st.just(3)),
    st.tuples(st.just("definition"), st.binary(max_size=5)),
    st.tuples(st.just("definitions"), st.binary(max_size=5)),
    st.just(("batch",)),
    st.just(("segment",)),
)


class Model:
    """What the records say, one after the other."""

    def __init__(self) -> None:
        self.segments = [Segment(1)]
        self.records: list[write.Record] = []
        self.batch_number = 0
        self.here: set[tuple[int, int]] = set()  # messages in this segment
        self.messages: dict[tuple[int, int], tuple[int, bool, int]] = {}
        self.settled: set[tuple[int, int]] = set()
        self.delivered: dict[int, int] = {}
        self.returned: dict[tuple[int, int], int] = {}
        self.highest: dict[int, int] = {}
        self.gone: set[int] = set()
        self.definitions: list[tuple[int, bytes]] = []

    def write(self, record: write.Record, queue: int = 0, sequence: int = 0) -> int:
        """Returns where the record will stand."""
        self.records.append(record)
        self.highest[queue] = max(sequence, self.highest.get(queue, 0))
        before = sum(map(write.record_octets, self.records[:-1]))
        return self.segments[-1].next_offset() + before

    def message(self, queue: int, sequence: int, returned: int, flag: bool, body: bytes) -> None:
        if (queue, sequence) in self.here:
            self.segment()  # only compaction writes a message again, and never into the segment where it stands
        self.here.add((queue, sequence))
        self.write(write.message(queue, sequence, body, returned=returned, flags=int(flag)), queue, sequence)
        self.messages[queue, sequence] = (returned, flag, len(body))

    def shared(self, queues: list[int], sequence: int) -> None:
        if any((queue, sequence) in self.here for queue in queues):
            self.segment()
        self.message(queues[0], sequence, 0, False, b"shared")
        at = self.segments[-1].next_offset() + sum(map(write.record_octets, self.records[:-1]))
        for queue in queues[1:]:
            self.here.add((queue, sequence))
            self.write(write.target(queue, sequence, at), queue, sequence)
            self.messages[queue, sequence] = (0, False, 6)

    def settle(self, queue: int, first: int, more: int) -> None:
        self.write(write.settled(queue, first, first + more), queue, first + more)
        self.settled.update((queue, sequence) for sequence in range(first, first + more + 1))

    def deliver(self, queue: int, sequence: int) -> None:
        self.write(write.delivered(queue, sequence), queue, sequence)
        self.delivered[queue] = max(sequence, self.delivered.get(queue, 0))

    def come_back(self, queue: int, sequence: int, count: int) -> None:
        self.write(write.returned(queue, sequence, count), queue, sequence)
        self.returned[queue, sequence] = max(count, self.returned.get((queue, sequence), 0))

    def state(self, queue: int) -> None:
        ranges = [(sequence, sequence) for number, sequence in sorted(self.settled) if number == queue]
        self.write(write.state(queue, self.highest.get(queue, 0) + 1, self.delivered.get(queue, 0), ranges), queue)

    def go(self, queue: int) -> None:
        self.write(write.gone(queue), queue)
        self.gone.add(queue)

    def define(self, kind: int, payload: bytes) -> None:
        self.write((kind, payload))
        self.definitions = [*([] if kind == write.DEFINITIONS else self.definitions), (kind, payload)]

    def batch(self) -> None:
        if self.records:
            self.batch_number += 1
            segment = self.segments[-1]
            segment.batch(self.batch_number, self.records, (segment.number, segment.end))
            self.records = []

    def segment(self) -> None:
        self.batch()
        self.here = set()
        self.segments.append(self.segments[-1].follower(seed=self.batch_number * 7919, size=20_000))

    def apply(self, steps: list[tuple[object, ...]]) -> None:
        self.segments = [Segment(1, size=20_000)]
        actions = {
            "message": self.message,
            "shared": self.shared,
            "settled": self.settle,
            "delivered": self.deliver,
            "returned": self.come_back,
            "state": self.state,
            "gone": self.go,
            "definition": lambda payload: self.define(write.DEFINITION, payload),
            "definitions": lambda payload: self.define(write.DEFINITIONS, payload),
            "batch": self.batch,
            "segment": self.segment,
        }
        for name, *arguments in steps:
            actions[str(name)](*arguments)
        self.batch()

    def live(self, wanted: int) -> Iterator[tuple[int, int, bool, int]]:
        for (queue, sequence), (count, flag, body_bytes) in sorted(self.messages.items()):
            if queue != wanted or queue in self.gone or (queue, sequence) in self.settled:
                continue
            count = max(count, self.returned.get((queue, sequence), 0))
            redelivered = flag or count > 0 or sequence <= self.delivered.get(queue, 0)
            yield sequence, max(count, int(redelivered)), redelivered, body_bytes


@settings(max_examples=300, deadline=None)
@given(st.lists(STEPS, max_size=80))
def test_what_is_read_back_is_what_was_written(steps: list[tuple[object, ...]]) -> None:
    model = Model()
    model.apply(steps)
    directory = Path(tempfile.mkdtemp())
    try:
        replay = Replay()
        replay.read([segment.write(directory) for segment in model.segments])
        check(replay, model)
    finally:
        shutil.rmtree(directory)


def check(replay: Replay, model: Model) -> None:
    for queue in (1, 2, 3):
        found = [
            (each.sequence, each.delivery_count, each.redelivered, each.body_bytes) for each in replay.messages(queue)
        ]
        assert found == list(model.live(queue))
        if queue in replay.queues():
            assert replay.queues()[queue].next_sequence == model.highest[queue] + 1
    assert replay.definitions() == model.definitions
    assert (replay.end_segment, replay.end_offset) == (model.segments[-1].number, model.segments[-1].end)
    assert (replay.batch_number, replay.cut_octets) == (model.batch_number, 0)
    check_octets(replay)


def check_octets(replay: Replay) -> None:
    """Live octets, counted anew from the messages."""
    messages = [message for queue in replay.queues() for message in replay.messages(queue)]
    needed = {(each.segment, each.message_offset, each.record_octets) for each in messages}
    needed |= {(each.segment, each.offset, 52) for each in messages if each.offset != each.message_offset}
    for segment in replay.segments():
        assert segment.live_octets == sum(octets for number, _, octets in needed if number == segment.number)
        assert segment.live_targets == sum(each.segment == segment.number for each in messages)
