"""python -m flowmq.management: the management process, as the broker starts it."""

import argparse
import asyncio
import logging
import os
import signal
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import uvloop
from aiohttp import web

from flowmq.management.application import Management
from flowmq.management.doors import Serving, report
from flowmq.management.metrics import metrics_application
from flowmq.management.sampler import Sampler
from flowmq.server import logs
from flowmq.server.config import SettingsError
from flowmq.server.control.client import AsyncControlConnection, NoBroker
from flowmq.server.control.registry import ControlError
from flowmq.server.tls import VERSIONS, load_certificate

EXIT_NO_BROKER = 1
SHUTDOWN_SECONDS = 1.0
log = logging.getLogger("flowmq.management")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m flowmq.management", description=__doc__)
    parser.add_argument("--control-socket", required=True)
    parser.add_argument("--management-fd", type=int, action="append", default=[])
    parser.add_argument("--management-tls-fd", type=int, action="append", default=[])
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
    secure = Certificate(control, settings) if given.management_tls_fd else None
    if secure is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, secure.reload)
    else:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    asyncio.get_running_loop().set_exception_handler(report)
    runners = [
        await serving(management.application(), given.management_fd, given.management_tls_fd, secure),
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


class Certificate:
    """What HTTPS is served with. Load it again when it was renewed, or when another file has it now; what cannot be
    read keeps the one before."""

    def __init__(self, control: AsyncControlConnection, settings: Mapping[str, Any]) -> None:
        self.control = control
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.options |= ssl.OP_NO_RENEGOTIATION
        self.load(settings)
        self.reloading: asyncio.Task[None] | None = None

    def load(self, settings: Mapping[str, Any]) -> None:
        try:
            load_certificate(self.context, "tls", settings["certificate"], settings["key"])
        except SettingsError as error:
            log.error("HTTPS keeps its certificate: %s", error)
        else:
            self.context.minimum_version = VERSIONS[settings["tls_version_min"]]

    def reload(self) -> None:
        """The broker has taken over its settings anew by now."""
        self.reloading = asyncio.ensure_future(self._reload())

    async def _reload(self) -> None:
        try:
            self.load(await self.control.call("management.settings"))
            log.info("HTTPS: the certificate was read again")
        except (NoBroker, ControlError) as error:
            log.error("HTTPS keeps its certificate: %s", error)


async def serving(
    application: web.Application,
    descriptors: Sequence[int],
    secure_descriptors: Sequence[int] = (),
    secure: Certificate | None = None,
) -> Serving:
    made = Serving(application, SHUTDOWN_SECONDS)
    await made.start()
    for descriptor in descriptors:
        await made.listen(descriptor)
    for descriptor in secure_descriptors:
        await made.listen(descriptor, None if secure is None else secure.context)
    return made


def main() -> int:
    given = arguments()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(run(given))
    finally:
        logs.shutdown()


raise SystemExit(main())
