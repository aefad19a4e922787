"""What a bench run says: the machine, a line per row and broker, ratios to the peers."""

import dataclasses
import statistics
import tempfile
from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypeVar

from bench.backlog import BacklogRun
from bench.disk import SYNCS, WRITE_BYTES
from bench.machine import machine
from bench.measure import Run
from bench.results import AnyRun, figures_of
from bench.scenarios import Scenario

TITLE_WIDTH = 54
BROKER_WIDTH = 8
KEPT_UP_MIN = 0.8
STOLEN_MS_PER_SECOND_MIN = 10.0  # one hundredth: a p99 cannot be the broker's any more


Figures = TypeVar("Figures", bound=Run | BacklogRun)

# How the brokers are compared: the figure, and in which words.
RATIOS = (
    ("consumed_per_second", "consumed/s"),
    ("filled_per_second", "filled/s"),
    ("drained_per_second", "drained/s"),
    ("per_second", "per second"),
    ("broker_cpu_us", "CPU"),
    ("latency_p50_us", "p50"),
    ("latency_p99_us", "p99"),
    ("confirm_p50_us", "confirm p50"),
    ("confirm_p99_us", "confirm p99"),
    ("rss_bytes", "RSS"),
    ("rss_each_bytes", "RSS each"),
)
CONTROL_FIGURES = (
    ("per_second", "per second", ",.0f", 1),
    ("broker_cpu_us", "CPU us", ",.1f", 1),
    ("client_cpu_us", "client's CPU us", ",.1f", 1),
    ("rss_each_bytes", "RSS KiB each", ",.2f", 1024),
    ("ready_seconds", "s until ready", ".3f", 1),
    ("hot_rate_ratio", "x the rate of a busy queue alone", ".3f", 1),
    ("hot_cpu_ratio", "x its CPU", ".3f", 1),
    ("ack_cpu_us", "CPU us per ack from the middle", ".2f", 1),
    ("ack_cpu_ratio", "x that of few", ".2f", 1),
)


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
    Column("conf. p50", 9, lambda run, _: number(run.confirm_p50_us, ",.0f")),
    Column("conf. p99", 9, lambda run, _: number(run.confirm_p99_us, ",.0f")),
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


def control_row(title: str, broker: str, figures: dict[str, float | None]) -> str:
    texts = [
        f"{figures[name] / unit:{form}} {text}"  # type: ignore[operator]
        for name, text, form, unit in CONTROL_FIGURES
        if figures.get(name) is not None
    ]
    return f"{title.ljust(TITLE_WIDTH)} {broker.ljust(BROKER_WIDTH)} {', '.join(texts)}"


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
    if run.stolen_ms_per_second is not None and run.stolen_ms_per_second >= STOLEN_MS_PER_SECOND_MIN:
        found.append(f"the host took the cores away for {run.stolen_ms_per_second:.0f} ms of each second")
    if not scenario.rate and run.broker_cpu_us is not None and run.generator_cpu_us > run.broker_cpu_us:
        found.append("the generator cost more CPU than the broker: the rates may be the generator's limit")
    return found


def disk_line(when: str, latencies_us: tuple[float, float]) -> str:
    return (
        f"fdatasync of {WRITE_BYTES} octets in {tempfile.gettempdir()}, {when}: "
        f"p50 {latencies_us[0]:,.0f} us, p99 {latencies_us[1]:,.0f} us ({SYNCS} in a row, no broker running)"
    )


def machine_line() -> str:
    facts = machine()
    return (
        f"{facts['cores']} cores, {facts['cpu']}, Linux {facts['kernel']}, Python {facts['python']}, "
        f"load average {' '.join(f'{load:.2f}' for load in facts['load_average'])}, commit {facts['commit']}"
    )


def cores_line(generator: Iterable[int], brokers: Iterable[int]) -> str:
    numbers = (", ".join(str(core) for core in sorted(cores)) for cores in (generator, brokers))
    return "core {} for the load generator, {} for the brokers that are started here".format(*numbers)


def ratio_line(peer: str, own: Sequence[AnyRun], of_peer: Sequence[AnyRun]) -> str:
    """Of each figure the median of the pairs' ratios, FlowMQ's divided by the peer's."""
    texts = []
    pairs = [(figures_of(one), figures_of(other)) for one, other in zip(own, of_peer, strict=True)]
    for name, title in RATIOS:
        ratios = [one[name] / other[name] for one, other in pairs if one.get(name) and other.get(name)]
        if ratios:
            texts.append(f"{title} {statistics.median(ratios):.3g}")
    return f"  = x {peer}: {', '.join(texts)}"
