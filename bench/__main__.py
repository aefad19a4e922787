"""python -m bench: FlowMQ under every load, beside others if they are named. Exit code 1 when a message went wrong."""

import contextlib
import dataclasses
import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

import click

try:
    from bench import measure
    from bench.backlog import Backlog, BacklogRun, median_of
except ModuleNotFoundError as missing:
    if missing.name != "bench._load":
        raise
    sys.exit("the load generator is not built: FLOWMQ_BENCH=1 python setup.py build_ext --inplace")

from bench import disk, report
from bench._dialogue import DialogueError
from bench._load import LoadError
from bench.broker import (
    BROKER_CORES,
    GENERATOR_CORES,
    Broker,
    BrokerError,
    NotStarted,
    OwnBroker,
    OwnRabbitMQ,
    PeerBroker,
)
from bench.control import CONTROL_ROWS, ControlRow, Figures
from bench.results import AnyRun, Results, median_figures
from bench.scale import SCALE_ROWS
from bench.scenarios import SCENARIOS, Scenario
from bench.wire import ProtocolError

SECONDS, QUICK_SECONDS = 3.0, 0.5
REPEATS = 3
QUICK_BACKLOG = 100_000
OWN, PEER, RABBITMQ = "FlowMQ", "peer", "RabbitMQ"
ROWS = (*SCENARIOS, *CONTROL_ROWS)
NAMES = [*(row.name for row in ROWS), *(row.name for row in SCALE_ROWS)]

FAILURES = (LoadError, DialogueError, ProtocolError, BrokerError, OSError)

Row = Scenario | ControlRow


class Bench:
    def __init__(
        self, peers: dict[str, PeerBroker], *, own: bool, seconds: float, repeats: int, backlog_repeats: int
    ) -> None:
        self.peers = peers
        self.own = own
        self.seconds = seconds
        self.repeats = repeats
        self.backlog_repeats = backlog_repeats
        self.results = Results()
        self.failed = False

    def play(self, row: Row) -> None:
        with self.telling_failures(row):
            if isinstance(row, ControlRow):
                self.play_control(row)
            elif row.backlog:
                self.play_backlog(row)
            else:
                self.play_traffic(row)

    def play_traffic(self, scenario: Scenario) -> None:
        """All repeats on all brokers in turn, so that what else the machine does meets them alike."""
        runs: dict[str, list[measure.Run]] = {}
        with self.brokers() as brokers:
            for _ in range(self.repeats):
                for name, broker in brokers.items():
                    runs.setdefault(name, []).append(measure.measure(scenario, broker, self.seconds))
        for name, of_broker in runs.items():
            median = measure.median_of(of_broker)
            click.echo(report.row(scenario, name, median))
            self.failed = self.failed or median.faults > 0
            self.results.add(scenario.name, name, median, of_broker)
        self.conclude(scenario, runs)

    def play_backlog(self, scenario: Scenario) -> None:
        """A fresh FlowMQ for every run: what one has freed is not above the idle broker of the next."""
        runs: dict[str, list[BacklogRun]] = {}
        for _ in range(self.backlog_repeats):
            with self.brokers() as brokers:
                for name, broker in brokers.items():
                    runs.setdefault(name, []).append(Backlog(scenario, broker).measure())
        click.echo("\n" + report.backlog_header())
        for name, of_broker in runs.items():
            median = median_of(of_broker)
            click.echo(report.backlog_row(scenario, name, median))
            self.failed = self.failed or median.faults > 0
            self.results.add(scenario.name, name, median, of_broker)
        self.conclude(scenario, runs)

    def play_control(self, row: ControlRow) -> None:
        """A fresh FlowMQ for every run, so that memory can be seen to grow."""
        runs: dict[str, list[Figures]] = {}
        for _ in range(self.repeats):
            with self.brokers() as brokers:
                for name, broker in brokers.items():
                    runs.setdefault(name, []).append(row.play(broker, self.seconds))
        for name, of_broker in runs.items():
            median = median_figures(of_broker)
            click.echo(report.control_row(row.title, name, median))
            self.results.add(row.name, name, median, of_broker)
        self.conclude(row, runs)

    def conclude(self, row: Row, runs: dict[str, list[AnyRun]]) -> None:
        """How FlowMQ did beside each peer, pair by pair, and beside its own budgets."""
        for name in self.peers:
            if self.own:
                click.echo(report.ratio_line(name, runs[OWN], runs[name]))
        if self.own:
            for verdict in self.results.judge(row.name, OWN, row.budgets):
                click.echo(f"  {verdict}")

    @contextlib.contextmanager
    def telling_failures(self, row: Row) -> Iterator[None]:
        try:
            yield
        except FAILURES as error:
            self.failed = True
            click.echo("\n".join([row.title, *(f"  ! failed: {text}" for text in story(error))]))

    @contextlib.contextmanager
    def brokers(self) -> Iterator[dict[str, Broker]]:
        """A fresh FlowMQ for every scenario, so that the memory seen is this scenario's."""
        if not self.own:
            yield dict(self.peers)
            return
        own = OwnBroker()
        try:
            yield {OWN: own, **self.peers}
        finally:
            own.stop()


def story(error: BaseException | None) -> list[str]:
    """What failed first, and what failed after it because of it."""
    if not isinstance(error, FAILURES):
        return []
    return [*story(error.__cause__ or error.__context__), str(error) or type(error).__name__]


def with_backlog(row: Row, messages: int | None) -> Row:
    if isinstance(row, Scenario) and row.backlog and messages:
        return dataclasses.replace(row, backlog=messages)
    return row


def started_peers(url: str | None, rabbitmq: bool, at_the_end: contextlib.ExitStack) -> dict[str, PeerBroker]:
    peers = {}
    if url:
        peers[PEER] = PeerBroker(url)
    if rabbitmq:
        peers[RABBITMQ] = OwnRabbitMQ()
    for peer in peers.values():
        at_the_end.callback(peer.stop)
    return peers


@click.command()
@click.option("--peer", metavar="URL", help="Another broker, amqp://user:password@host:port/vhost, for the same loads.")
@click.option("--rabbitmq", is_flag=True, help="Start Debian's rabbitmq-server for the same loads.")
@click.option("--peer-only", is_flag=True, help="Measure the peers alone.")
@click.option("--only", multiple=True, type=click.Choice(NAMES), help="Only this row.")
@click.option(
    "--scale", is_flag=True, help="Many connections, queues, bindings and consumers, instead of the other rows."
)
@click.option("--quick", is_flag=True, help=f"Runs of {QUICK_SECONDS} s instead of {SECONDS} s, each once.")
@click.option(
    "--repeats", type=click.IntRange(min=1), help=f"Runs per row ({REPEATS}, or 1 when quick or of a backlog)."
)
@click.option("--backlog", type=click.IntRange(min=1), help="Messages of a backlog, instead of what its row has.")
@click.option(
    "--json", "json_path", type=click.Path(dir_okay=False, path_type=Path), help="Also write the figures here."
)
def main(
    peer: str | None,
    rabbitmq: bool,
    peer_only: bool,
    only: tuple[str, ...],
    scale: bool,
    quick: bool,
    repeats: int | None,
    backlog: int | None,
    json_path: Path | None,
) -> None:
    """Put FlowMQ under load in a process of its own and print what it did."""
    if peer_only and not (peer or rabbitmq):
        raise click.UsageError("--peer-only needs --peer or --rabbitmq")
    seconds = QUICK_SECONDS if quick else SECONDS
    backlog = backlog or (QUICK_BACKLOG if quick else None)
    rows = [with_backlog(each, backlog) for each in chosen(only, scale)]
    click.echo(report.machine_line())
    click.echo(report.cores_line(GENERATOR_CORES, BROKER_CORES))
    os.sched_setaffinity(0, GENERATOR_CORES)
    _, descriptors_max = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors_max, descriptors_max))
    with contextlib.ExitStack() as at_the_end:
        try:
            peers = started_peers(peer, rabbitmq, at_the_end)
            bench = Bench(
                peers,
                own=not peer_only,
                seconds=seconds,
                repeats=repeats or (1 if quick else REPEATS),
                backlog_repeats=repeats or 1,
            )
            play_all(bench, rows)
        except NotStarted as error:
            sys.exit(str(error))
    if json_path:
        bench.results.write(json_path, seconds)
    sys.exit(1 if bench.failed else 0)


def chosen(only: tuple[str, ...], scale: bool) -> list[Row]:
    if not only:
        return list(SCALE_ROWS if scale else ROWS)
    rows: list[Row] = [*ROWS, *SCALE_ROWS]
    return [row for row in rows if row.name in only]


def play_all(bench: Bench, rows: list[Row]) -> None:
    bench.results.add_disk("before", latencies := disk.sync_latencies_us())
    click.echo(report.disk_line("before", latencies))
    click.echo(report.header())
    for row in rows:
        bench.play(row)
    bench.results.add_disk("after", latencies := disk.sync_latencies_us())
    click.echo("\n" + report.disk_line("after", latencies))
    if bench.own:
        click.echo(bench.results.summary())


if __name__ == "__main__":
    main()
