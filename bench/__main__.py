"""python -m bench: FlowMQ under every load, beside a peer if one is named. Exit code 1 when a message went wrong."""

import contextlib
import dataclasses
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
from bench._load import LoadError
from bench.broker import BrokerError, NotStarted, OwnBroker, PeerBroker
from bench.scenarios import SCENARIOS, Scenario
from bench.wire import ProtocolError

SECONDS, QUICK_SECONDS = 3.0, 0.5
REPEATS = 3
QUICK_BACKLOG = 100_000
OWN, PEER = "FlowMQ", "peer"

FAILURES = (LoadError, ProtocolError, BrokerError, OSError)

Brokers = dict[str, OwnBroker | PeerBroker]


class Bench:
    def __init__(self, peer_url: str | None, *, own: bool, seconds: float, repeats: int, backlog_repeats: int) -> None:
        self.peer_url = peer_url
        self.own = own
        self.seconds = seconds
        self.repeats = repeats
        self.backlog_repeats = backlog_repeats
        self.results: list[dict[str, object]] = []
        self.failed = False

    def play(self, scenario: Scenario) -> None:
        with self.telling_failures(scenario):
            if scenario.backlog:
                self.play_backlog(scenario)
            else:
                self.play_traffic(scenario)

    def play_traffic(self, scenario: Scenario) -> None:
        """All repeats on all brokers in turn, so that what else the machine does meets them alike."""
        runs: dict[str, list[measure.Run]] = {}
        with self.brokers() as brokers:
            for _ in range(self.repeats):
                for name, broker in brokers.items():
                    runs.setdefault(name, []).append(measure.measure(scenario, broker, self.seconds))
        self.show(scenario, runs)

    def play_backlog(self, scenario: Scenario) -> None:
        """A fresh FlowMQ for every run: what one has freed is not above the idle broker of the next."""
        runs: dict[str, list[BacklogRun]] = {}
        for _ in range(self.backlog_repeats):
            with self.brokers() as brokers:
                for name, broker in brokers.items():
                    runs.setdefault(name, []).append(Backlog(scenario, broker).measure())
        self.show_backlog(scenario, runs)

    @contextlib.contextmanager
    def telling_failures(self, scenario: Scenario) -> Iterator[None]:
        try:
            yield
        except FAILURES as error:
            self.failed = True
            click.echo("\n".join([scenario.title, *(f"  ! failed: {text}" for text in story(error))]))

    @contextlib.contextmanager
    def brokers(self) -> Iterator[Brokers]:
        """A fresh FlowMQ for every scenario, so that the memory seen is this scenario's."""
        brokers: Brokers = {}
        if self.own:
            brokers[OWN] = OwnBroker()
        try:
            if self.peer_url:
                brokers[PEER] = PeerBroker(self.peer_url)
            yield brokers
        finally:
            if self.own:
                brokers[OWN].stop()

    def show(self, scenario: Scenario, runs: dict[str, list[measure.Run]]) -> None:
        medians = {name: measure.median_of(of_broker) for name, of_broker in runs.items()}
        for name, median in medians.items():
            click.echo(report.row(scenario, name, median))
            self.failed = self.failed or median.faults > 0
            self.results.append(report.as_json(scenario, name, median, runs[name]))
        if len(medians) > 1:
            click.echo(report.ratio_row(scenario, medians[OWN], medians[PEER]))

    def show_backlog(self, scenario: Scenario, runs: dict[str, list[BacklogRun]]) -> None:
        medians = {name: median_of(of_broker) for name, of_broker in runs.items()}
        click.echo("\n" + report.backlog_header())
        for name, median in medians.items():
            click.echo(report.backlog_row(scenario, name, median))
            self.failed = self.failed or median.faults > 0
            self.results.append(report.as_json(scenario, name, median, runs[name]))
        if len(medians) > 1:
            click.echo(report.backlog_ratio_row(medians[OWN], medians[PEER]))


def story(error: BaseException | None) -> list[str]:
    """What failed first, and what failed after it because of it."""
    if not isinstance(error, FAILURES):
        return []
    return [*story(error.__cause__ or error.__context__), str(error) or type(error).__name__]


def with_backlog(scenario: Scenario, messages: int | None) -> Scenario:
    return dataclasses.replace(scenario, backlog=messages) if messages and scenario.backlog else scenario


@click.command()
@click.option("--peer", metavar="URL", help="Another broker, amqp://user:password@host:port/vhost, for the same loads.")
@click.option("--peer-only", is_flag=True, help="Measure the peer alone.")
@click.option("--only", multiple=True, type=click.Choice([each.name for each in SCENARIOS]), help="Only this scenario.")
@click.option("--quick", is_flag=True, help=f"Runs of {QUICK_SECONDS} s instead of {SECONDS} s, each once.")
@click.option(
    "--repeats", type=click.IntRange(min=1), help=f"Runs per scenario ({REPEATS}, or 1 when quick or of a backlog)."
)
@click.option("--backlog", type=click.IntRange(min=1), help="Messages of a backlog, instead of what its scenario has.")
@click.option(
    "--json", "json_path", type=click.Path(dir_okay=False, path_type=Path), help="Also write the figures here."
)
def main(
    peer: str | None,
    peer_only: bool,
    only: tuple[str, ...],
    quick: bool,
    repeats: int | None,
    backlog: int | None,
    json_path: Path | None,
) -> None:
    """Put FlowMQ under load in a process of its own and print what it did."""
    if peer_only and not peer:
        raise click.UsageError("--peer-only needs --peer")
    seconds = QUICK_SECONDS if quick else SECONDS
    bench = Bench(
        peer,
        own=not peer_only,
        seconds=seconds,
        repeats=repeats or (1 if quick else REPEATS),
        backlog_repeats=repeats or 1,
    )
    click.echo(report.machine_line())
    syncs_us = [disk.sync_latencies_us()]
    click.echo(report.disk_line("before", syncs_us[0]))
    click.echo(report.header())
    try:
        for scenario in SCENARIOS:
            if not only or scenario.name in only:
                bench.play(with_backlog(scenario, backlog or (QUICK_BACKLOG if quick else None)))
    except NotStarted as error:
        sys.exit(str(error))
    syncs_us.append(disk.sync_latencies_us())
    click.echo("\n" + report.disk_line("after", syncs_us[1]))
    if json_path:
        report.write_json(json_path, seconds, syncs_us, bench.results)
    sys.exit(1 if bench.failed else 0)


if __name__ == "__main__":
    main()
