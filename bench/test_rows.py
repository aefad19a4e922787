"""Rows are played, in small, against a broker: what they measure is there, and neighbours of a flood are served."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

pytest.importorskip("bench._load", reason="build it: FLOWMQ_BENCH=1 python setup.py build_ext --inplace")

from bench import control, scale
from bench.backlog import Backlog
from bench.broker import OwnBroker
from bench.control import CONTROL_ROWS, ControlRow
from bench.measure import Run, measure
from bench.scale import SCALE_ROWS
from bench.scenarios import MIB, SCENARIOS, Scenario

MOMENT = 0.05
# What a busy machine may do to a neighbour's answer; a broker that lets a flood go first takes seconds.
LATENCY_US_MAX = 1_000_000
GROWTH_BYTES_MAX = 256 * MIB


@pytest.fixture(scope="module")
def broker() -> Iterator[OwnBroker]:
    own = OwnBroker()
    yield own
    own.stop()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, names in (
        (control, ("DURABLE_QUEUES", "IDLE_CONNECTIONS")),
        (scale, ("CONNECTIONS", "QUEUES", "BINDINGS", "CONSUMERS")),
    ):
        for name in names:
            monkeypatch.setattr(module, name, 100)
    for name, count in (
        *(("BOUND_QUEUES", 10), ("CONSUMED_QUEUES", 10), ("CONSUMING_CONNECTIONS", 10)),
        *(("UNACKED", 1000), ("FEW_UNACKED", 100), ("ACKED_FROM_THE_MIDDLE", 50), ("PAIRS", 1)),
    ):
        monkeypatch.setattr(scale, name, count)


def scenario(name: str) -> Scenario:
    return next(each for each in SCENARIOS if each.name == name)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("row", [*CONTROL_ROWS, *SCALE_ROWS], ids=lambda row: row.name)
def test_a_row_without_messages_measures_what_its_budgets_are_of(row: ControlRow, broker: OwnBroker) -> None:
    figures = row.play(broker, MOMENT)
    for budget in row.budgets:
        assert figures[budget.figure] is not None


@pytest.mark.parametrize("name", ["topic-1000", "4x4-persistent", "100-publishers", "1m"])
def test_a_load_is_without_faults(name: str, broker: OwnBroker) -> None:
    run = measure(scenario(name), broker, MOMENT)
    assert run.faults == 0
    assert run.consumed_per_second > 0


def test_a_backlog_outlives_a_kill() -> None:
    own = OwnBroker()
    try:
        run = Backlog(replace(scenario("backlog"), backlog=1000), own).measure()
    finally:
        own.stop()
    assert run.faults == 0
    assert run.ready_seconds is not None


def served_beside(name: str, broker: OwnBroker) -> Run:
    run = measure(scenario(name), broker, 1.0)
    assert run.faults == 0
    assert run.latency_p99_us is not None
    assert run.latency_p99_us < LATENCY_US_MAX
    return run


def test_a_neighbour_of_a_flood_is_served(broker: OwnBroker) -> None:
    served_beside("beside-a-flood", broker)


def test_a_slow_consumer_costs_neither_neighbours_nor_memory() -> None:
    own = OwnBroker()
    try:
        run = served_beside("beside-a-slow-consumer", own)
    finally:
        own.stop()
    assert run.rss_growth_bytes is not None
    assert run.rss_growth_bytes < GROWTH_BYTES_MAX
