"""What the process takes beside messages: when it counts, what of it is free, and what follows when it is too much."""

import os

import pytest

from flowmq._message import is_freed_memory_kept
from flowmq.server import process_memory
from flowmq.server.handshake import HANDSHAKES_SCARCE
from flowmq.server.process_memory import ProcessMemory
from tests.unit.support_plane import Plane

pytestmark = pytest.mark.skipif(is_freed_memory_kept(), reason="the size of the process says nothing")
MIB = 1 << 20


class Machine:
    """A process whose size is what the test says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.resident, self.counted, self.free, self.given_back = 40 * MIB, 0, 0, 0
        monkeypatch.setattr(process_memory, "resident_bytes", lambda: self.resident)
        monkeypatch.setattr(process_memory, "counted_bytes", lambda: self.counted)
        monkeypatch.setattr(process_memory, "free_memory", lambda: self.free)
        monkeypatch.setattr(process_memory, "give_back_memory", self.give_back)

    def give_back(self) -> None:
        self.given_back += 1
        self.resident -= self.free
        self.free = 0


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


@pytest.mark.parametrize(("limit", "whole"), [(1, False), (16, False), (63, False), (64, True), (256, True)])
def test_a_limit_less_than_the_process_is_one_for_messages(machine: Machine, limit: int, whole: bool) -> None:
    memory = ProcessMemory(limit * MIB)
    assert memory.is_whole is whole
    machine.resident = 1000 * MIB
    memory.look()
    assert (memory.uncounted_bytes > 0) is whole


def test_the_alarm_comes_before_the_limit(machine: Machine) -> None:
    assert ProcessMemory(320 * MIB).alarm_bytes == 256 * MIB
    assert ProcessMemory(32 * MIB).alarm_bytes == 32 * MIB, "messages alone"


def test_garbage_is_looked_for_when_it_may_be_that_and_not_all_the_time(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = ProcessMemory(320 * MIB)
    now, looks = [1000.0], []
    monkeypatch.setattr(process_memory.time, "monotonic", lambda: now[0])
    memory.collect = lambda: looks.append(now[0])

    def found(resident: int, counted: int) -> list[float]:
        machine.resident, machine.counted = resident * MIB, counted * MIB
        memory.look()
        memory.look_for_garbage()
        return looks

    assert found(300, 255) == [], "it is messages that take it"
    assert found(300, 10) == [1000.0]
    now[0] += process_memory.COLLECT_SECONDS - 1
    assert found(300, 10) == [1000.0]
    now[0] += 1
    assert found(300, 10) == [1000.0, 1060.0]


def test_the_rest_of_the_resident_octets_counts(machine: Machine) -> None:
    memory = ProcessMemory(320 * MIB)
    assert memory.uncounted_bytes == 40 * MIB
    machine.resident, machine.counted = 160 * MIB, 100 * MIB
    memory.look()
    assert memory.uncounted_bytes == 60 * MIB


def test_what_was_not_touched_yet_does_not_make_the_interpreter_smaller(machine: Machine) -> None:
    memory = ProcessMemory(320 * MIB)
    machine.resident, machine.counted = 100 * MIB, 90 * MIB
    memory.look()
    assert memory.uncounted_bytes == 40 * MIB


def test_free_memory_is_not_in_use_up_to_an_eighth(machine: Machine) -> None:
    memory = ProcessMemory(320 * MIB)
    machine.resident, machine.free = 220 * MIB, 20 * MIB
    memory.look()
    assert memory.uncounted_bytes == 200 * MIB
    machine.free, memory.free_next = 100 * MIB, 0.0
    memory.look()
    assert memory.uncounted_bytes == (220 - 32) * MIB
    assert machine.given_back == 0


def test_near_the_limit_it_is_given_back(machine: Machine) -> None:
    memory = ProcessMemory(320 * MIB)
    machine.resident, machine.free = 250 * MIB, 100 * MIB
    memory.look()
    assert (machine.given_back, memory.uncounted_bytes) == (1, 150 * MIB)
    machine.resident, machine.free = 250 * MIB, 100 * MIB
    memory.look()
    assert machine.given_back == 1, "not again at once: it takes a moment"


def test_while_memory_is_very_short_few_are_let_in_at_a_time(machine: Machine) -> None:
    with Plane(memory_bytes_max=320 * MIB) as plane:
        for _ in range(HANDSHAKES_SCARCE + 20):
            plane.connect()
        refused = plane.node.broker.limits.refused
        assert refused["handshakes"] == 0
        for client in plane.clients:
            client.lose()
        machine.resident = 300 * MIB
        plane.node.alarms.look_at_memory()
        assert plane.node.alarms.is_memory_very_short
        assert plane.node.alarms.in_force == {"memory"}
        for _ in range(HANDSHAKES_SCARCE):
            plane.connect()
        assert refused["handshakes"] == 0
        for _ in range(20):
            plane.connect()
        assert refused["handshakes"] == 20
        machine.resident = 100 * MIB
        plane.node.alarms.look_at_memory()
        plane.connect()
        assert refused["handshakes"] == 20


def test_this_process_has_a_size() -> None:
    assert os.sysconf("SC_PAGE_SIZE") < process_memory.resident_bytes()
