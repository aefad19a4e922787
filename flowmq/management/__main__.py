"""python -m flowmq.management: the management process, as the broker starts it."""

import argparse
import asyncio
import logging
import os
import signal
import socket
from collections.abc import Sequence
from pathlib import Path

import uvloop
from aiohttp import web

from flowmq.management.application import Management
from flowmq.management.metrics import metrics_application
from flowmq.management.sampler import Sampler
from flowmq.server import logs
from flowmq.server.control.client import AsyncControlConnection, NoBroker

EXIT_NO_BROKER = 1
SHUTDOWN_SECONDS = 1.0
log = logging.getLogger("flowmq.management")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m flowmq.management", description=__doc__)
    parser.add_argument("--control-socket", required=True)
    parser.add_argument("--management-fd", type=int, action="append", default=[])
    parser.add_argument("--metrics-fd", type=int, action="append", default=[])
    return parser.parse_args()


async def run(given: argparse.Namespace) -> int:
    try:
        control = await AsyncControlConnection.connect(Path(given.control_socket))
    except NoBroker:
        return EXIT_NO_BROKER
    settings = await control.call("management.settings")
    logs.configure(settings["log_level"], settings["log_format"])
    sampler = Sampler(control, settings["sample_seconds"])
    management = Management(control, sampler)
    runners = [
        await serving(management.application(), given.management_fd),
        await serving(metrics_application(management), given.metrics_fd),
    ]
    sampling = asyncio.ensure_future(sampler.run())
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    ending = asyncio.ensure_future(stopped.wait())
    gone = asyncio.ensure_future(asyncio.wait([control.ended]))
    await asyncio.wait([asyncio.ensure_future(ending), gone], return_when=asyncio.FIRST_COMPLETED)
    if not stopped.is_set():
        # The broker has gone, perhaps killed: whoever starts it anew needs these ports at once.
        logs.shutdown()
        os._exit(0)
    sampling.cancel()
    await asyncio.gather(sampling, return_exceptions=True)
    for runner in runners:
        await runner.cleanup()
    await control.close()
    return 0


async def serving(application: web.Application, descriptors: Sequence[int]) -> web.AppRunner:
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=SHUTDOWN_SECONDS)
    await runner.setup()
    for descriptor in descriptors:
        await web.SockSite(runner, socket.socket(fileno=descriptor)).start()
    return runner


def main() -> int:
    given = arguments()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(run(given))
    finally:
        logs.shutdown()


raise SystemExit(main())
