"""What a bench run says: the machine, a table row per scenario and broker, ratios to the peer, the same as JSON."""

import dataclasses
import functools
import json
import os
import platform
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

from bench.backlog import BacklogRun
from bench.disk import SYNCS, WRITE_BYTES
from bench.measure import Run
from bench.scenarios import Scenario

TITLE_WIDTH = 48
BROKER_WIDTH = 7
KEPT_UP_MIN = 0.8


Figures = TypeVar("Figures", bound=Run | BacklogRun)


@dataclasses.dataclass(frozen=True)
class Column(Generic[Figures]):
    title: str
    width: int
    text: Callable[[Figures, Scenario], str]


def number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def share_consumed(run: Run, scenario: Scenario) -> float:
    return run.consumed_per_second / max(run.published_per_second * scenario.copies, 1.0)


COLUMNS: tuple[Column[Run], ...] = (
    Column("published/s", 11, lambda run, _: number(run.published_per_second, ",.0f")),
    Column("consumed/s", 11, lambda run, _: number(run.consumed_per_second, ",.0f")),
    Column("kept up", 7, lambda run, scenario: number(share_consumed(run, scenario), ".0%")),
    Column("CPU us/msg", 10, lambda run, _: number(run.broker_cpu_us, ".3f")),
    Column("generator", 9, lambda run, _: number(run.generator_cpu_us, ".3f")),
    Column("p50 us", 9, lambda run, _: number(run.latency_p50_us, ",.0f")),
    Column("p99 us", 9, lambda run, _: number(run.latency_p99_us, ",.0f")),
    Column("lost/dup/order", 14, lambda run, _: checked(run)),
    Column("RSS MiB", 7, lambda run, _: mebibytes(run.rss_bytes, ".0f")),
)

BACKLOG_COLUMNS: tuple[Column[BacklogRun], ...] = (
    Column("backlog", 11, lambda run, _: number(run.messages, ",.0f")),
    Column("filled/s", 11, lambda run, _: number(run.filled_per_second, ",.0f")),
    Column("RSS + MiB", 10, lambda run, _: mebibytes(run.filled_rss_bytes, ".1f")),
    Column("ready s", 8, lambda run, _: number(run.ready_seconds, ".2f")),
    Column("RSS + MiB", 10, lambda run, _: mebibytes(run.ready_rss_bytes, ".1f")),
    Column("drained/s", 11, lambda run, _: number(run.drained_per_second, ",.0f")),
    Column("lost/dup/order", 14, lambda run, _: checked(run)),
)


def checked(run: Run | BacklogRun) -> str:
    return f"{run.lost}/{run.duplicated}/{run.out_of_order}"


def mebibytes(octets: float | None, form: str) -> str:
    return number(None if octets is None else octets / 2**20, form)


def header() -> str:
    return header_of(COLUMNS)


def row(scenario: Scenario, broker: str, run: Run) -> str:
    return row_of(COLUMNS, scenario, broker, run, remarks(run, scenario))


def backlog_header() -> str:
    return header_of(BACKLOG_COLUMNS)


def backlog_row(scenario: Scenario, broker: str, run: BacklogRun) -> str:
    return row_of(BACKLOG_COLUMNS, scenario, broker, run, refusals(run))


def header_of(columns: Sequence[Column[Figures]]) -> str:
    titles = (column.title.rjust(column.width) for column in columns)
    return " ".join(["scenario".ljust(TITLE_WIDTH), "broker".ljust(BROKER_WIDTH), *titles])


def row_of(
    columns: Sequence[Column[Figures]], scenario: Scenario, broker: str, run: Figures, remarks: list[str]
) -> str:
    cells = (column.text(run, scenario).rjust(column.width) for column in columns)
    line = " ".join([scenario.title.ljust(TITLE_WIDTH), broker.ljust(BROKER_WIDTH), *cells])
    return "\n".join([line, *(f"  ! {remark}" for remark in remarks)])


def refusals(run: Run | BacklogRun) -> list[str]:
    found = []
    if run.nacked:
        found.append(f"{run.nacked} publishes were refused")
    if run.unconfirmed:
        found.append(f"{run.unconfirmed} publishes were never confirmed")
    return found


def remarks(run: Run, scenario: Scenario) -> list[str]:
    """What the columns have no room for, and what a reader must know before believing them."""
    found = refusals(run)
    if run.returned:
        found.append(f"{run.returned} messages came back as unroutable")
    if share_consumed(run, scenario) < KEPT_UP_MIN:
        found.append(f"consumption fell more than {1 - KEPT_UP_MIN:.0%} behind publishing")
    if run.held_back:
        found.append("the publisher had to wait: the backlog reached its limit")
    if not scenario.rate and run.broker_cpu_us is not None and run.generator_cpu_us > run.broker_cpu_us:
        found.append("the generator cost more CPU than the broker: the rates may be the generator's limit")
    return found


def ratio_row(scenario: Scenario, own: Run, peer: Run) -> str:
    texts = []
    if not scenario.rate:
        texts.append(f"{own.consumed_per_second / max(peer.consumed_per_second, 1.0):.1f} x the peer's consumed/s")
    if own.broker_cpu_us and peer.broker_cpu_us:
        texts.append(f"{own.broker_cpu_us / peer.broker_cpu_us:.3f} of its CPU per message")
    if own.latency_p99_us and peer.latency_p99_us:
        texts.append(f"{own.latency_p99_us / peer.latency_p99_us:.3f} of its p99")
    return "  = " + ", ".join(texts)


def backlog_ratio_row(own: BacklogRun, peer: BacklogRun) -> str:
    filled = own.filled_per_second / max(peer.filled_per_second, 1.0)
    drained = own.drained_per_second / max(peer.drained_per_second, 1.0)
    return f"  = {filled:.1f} x the peer's filled/s, {drained:.1f} x its drained/s"


@functools.cache
def machine() -> dict[str, Any]:
    """As it was before the first load."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "cpu": cpu_model(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_average": [round(load, 2) for load in os.getloadavg()],
    }


def cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def machine_line() -> str:
    facts = machine()
    return (
        f"{facts['cores']} cores, {facts['cpu']}, Linux {facts['kernel']}, Python {facts['python']}, "
        f"load average {' '.join(f'{load:.2f}' for load in facts['load_average'])}"
    )


def disk_line(when: str, latencies_us: tuple[float, float]) -> str:
    return (
        f"fdatasync of {WRITE_BYTES} octets in {tempfile.gettempdir()}, {when}: "
        f"p50 {latencies_us[0]:,.0f} us, p99 {latencies_us[1]:,.0f} us ({SYNCS} in a row, no broker running)"
    )


def write_json(
    path: Path, seconds: float, syncs_us: list[tuple[float, float]], results: list[dict[str, object]]
) -> None:
    document = {"machine": machine(), "fdatasync_us": syncs_us, "seconds": seconds, "results": results}
    path.write_text(json.dumps(document, indent=2) + "\n")


def as_json(scenario: Scenario, broker: str, median: Figures, runs: list[Figures]) -> dict[str, object]:
    return {
        "scenario": scenario.name,
        "broker": broker,
        "median": dataclasses.asdict(median),
        "runs": [dataclasses.asdict(run) for run in runs],
    }
