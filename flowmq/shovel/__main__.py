"""python -m flowmq.shovel: the process of the shovels, as the broker starts it."""

import argparse
import asyncio
import logging
import os
import signal
from pathlib import Path
from typing import Any

import uvloop

from flowmq.server import logs
from flowmq.server.control.client import AsyncControlConnection, NoBroker
from flowmq.shovel.contents import keep_octets
from flowmq.shovel.reports import Reports
from flowmq.shovel.worker import Worker

EXIT_NO_BROKER = 1
# When memory ends, the kernel takes this process and not the broker: what is under way here comes again.
OOM_SCORE_MORE, OOM_SCORE_MAX = 500, 1000
OOM_SCORE_FILE = Path("/proc/self/oom_score_adj")
Name = tuple[str, str]  # of a shovel: its virtual host, and what it is called there
log = logging.getLogger("flowmq.shovel")


class Workers:
    """All shovels, as the broker wants them."""

    def __init__(self, control: AsyncControlConnection, reports: Reports) -> None:
        self.control, self.reports = control, reports
        self.by_name: dict[Name, Worker] = {}
        self.going: dict[Name, asyncio.Future[None]] = {}  # told to stop

    async def run(self) -> None:
        generation = 0
        while True:
            wanted = await self.control.call("shovel.wanted", after=generation)
            generation = wanted["generation"]
            # What counts for all of them comes once.
            common = {"node": wanted["node"], "hosts": wanted["hosts"]}
            self._adjust({(one["vhost"], one["name"]): {**common, **one} for one in wanted["shovels"]})

    def _adjust(self, wanted: dict[Name, dict[str, Any]]) -> None:
        """What is to be another one stops before that begins; others do not wait for it."""
        going = [
            name
            for name, worker in self.by_name.items()
            if name not in wanted or wanted[name]["revision"] != worker.revision
        ]
        for name in going:
            self._stop(name)
        for name, one in wanted.items():
            if name not in self.by_name:
                self.by_name[name] = Worker(self.control, self.reports, one, self.going.get(name))

    def _stop(self, name: Name) -> None:
        before, worker = self.going.get(name), self.by_name.pop(name)
        going = self.going[name] = asyncio.ensure_future(stopped(worker, before))
        going.add_done_callback(lambda _: self.going.pop(name) if self.going.get(name) is going else None)

    async def stop(self) -> None:
        for name in list(self.by_name):
            self._stop(name)
        await asyncio.gather(*self.going.values())


async def stopped(worker: Worker, before: asyncio.Future[None] | None) -> None:
    await worker.stop()
    if before is not None:
        await before


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m flowmq.shovel", description=__doc__)
    parser.add_argument("--control-socket", required=True)
    return parser.parse_args()


def go_first() -> None:
    try:
        score = int(OOM_SCORE_FILE.read_text())
        OOM_SCORE_FILE.write_text(str(min(score + OOM_SCORE_MORE, OOM_SCORE_MAX)))
    except OSError as error:
        log.warning("%s cannot be written, shovels may take the broker's memory: %s", OOM_SCORE_FILE, error.strerror)


async def run(given: argparse.Namespace) -> int:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        control = await AsyncControlConnection.connect(Path(given.control_socket))
    except NoBroker:
        return EXIT_NO_BROKER
    settings = await control.call("management.settings")
    logs.configure(settings["log_level"], settings["log_format"])
    go_first()
    # What the library has to say is said by us, once and without details of the connection.
    logging.getLogger("pika").setLevel(logging.CRITICAL)
    keep_octets()
    reports = Reports(control)
    workers = Workers(control, reports)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    tasks: list[asyncio.Future[Any]] = [
        asyncio.ensure_future(one) for one in (workers.run(), reports.run(), stopped.wait())
    ]
    await asyncio.wait([*tasks, control.ended], return_when=asyncio.FIRST_COMPLETED)
    if not stopped.is_set():
        for task in tasks:
            if task.done() and not isinstance(task.exception(), NoBroker | None):
                log.error("internal error", exc_info=task.exception())
        # The broker has gone, perhaps killed; or we are not to be trusted any more. What is under way comes again.
        logs.shutdown()
        os._exit(EXIT_NO_BROKER)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await workers.stop()
    await reports.tell()
    await control.close()
    return 0


def main() -> int:
    given = arguments()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(run(given))
    finally:
        logs.shutdown()


raise SystemExit(main())
