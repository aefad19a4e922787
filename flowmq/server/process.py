"""The broker process: from settings to an exit code. Starts everything in order, and ends it in reverse."""

import asyncio
import logging
import os
import shlex
import signal
from collections.abc import Callable
from pathlib import Path

import uvloop

from flowmq import __version__
from flowmq._busy_poll import set_busy_poll
from flowmq._peer import set_flush_scheduler
from flowmq.broker.permissions import AccessError
from flowmq.broker.policy_keys import PolicyError
from flowmq.broker.users import LOOPBACK_ONLY_USER
from flowmq.server import logs, open_files
from flowmq.server.collector import Collector
from flowmq.server.companion import Companion
from flowmq.server.config import Settings, SettingsError, differences, parse_address
from flowmq.server.control.service import ControlService
from flowmq.server.definitions import DefinitionsRefused
from flowmq.server.handshake import is_loopback
from flowmq.server.listeners import CannotListen, Listeners
from flowmq.server.node import Node
from flowmq.server.notify import Notifier
from flowmq.server.tls import RELOADED_TLS
from flowmq.storage.layout import DataDir, StorageError, storage_errors
from flowmq.storage.store import Store

DRAIN_SECONDS = 10.0
BUSY_POLL_US = 50
SHUTDOWN_TEXT = "broker forced connection closure with reason 'shutdown'"
EXIT_OK = 0
EXIT_CANNOT_START = 1
EXIT_DISK_FAILED = 1
RELOADED = ("policies", "operator_policies", *RELOADED_TLS)  # of the settings, what SIGHUP changes
log = logging.getLogger("flowmq")


class CannotStart(Exception):
    """The broker cannot run here; the message is one line for the operator."""


def serve(settings: Settings, read_settings: Callable[[], Settings]) -> int:
    """Run a broker until it is told to stop. The exit code of the process.

    `read_settings` reads them anew, from where these came from.
    """
    logs.configure(settings.log.level, settings.log.format)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(Process(settings, read_settings).run())
    except (CannotStart, StorageError) as error:
        log.error("%s", error)
        return EXIT_CANNOT_START
    finally:
        logs.shutdown()


class Process:
    def __init__(self, settings: Settings, read_settings: Callable[[], Settings]) -> None:
        self.settings = settings
        self.read_settings = read_settings
        self.stopping = asyncio.Event()
        self.stop_now = asyncio.Event()
        self.node: Node | None = None
        self.listeners: Listeners | None = None
        self.notifier = Notifier(os.environ, os.getpid())
        self.companion: Companion | None = None

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        log.info("FlowMQ %s starting, pid %d", __version__, os.getpid())
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, number)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        open_files.allow_many()
        set_flush_scheduler(loop.call_soon)
        try:
            with self.notifier.recovering(), storage_errors(Path(self.settings.storage.data_dir)):
                self.node = node = self._new_node(loop)
                node.start_store()
        except (DefinitionsRefused, AccessError) as error:
            raise CannotStart(str(error)) from error
        set_busy_poll(loop.call_soon, busy_poll_us(self.settings) * 1000, node.sockets.look)
        collector = Collector(loop)
        collector.start()
        node.alarms.process.collect = collector.look_at_all
        control = await start_control(node)
        self.listeners = listeners = await self._listen(node)
        self.companion = companion = await start_companion(node, control)
        node.shovels.start(str(control.path))
        node.lag.start()
        advise(node)
        log.info("Server startup complete")
        self.notifier.ready(loop, node.status)
        await self.stopping.wait()
        self.notifier.stopping()
        listeners.close()
        await node.shovels.stop()
        await self._drain(node)
        await companion.stop()
        await control.stop()
        node.lag.stop()
        collector.stop()
        self.notifier.close()
        if not node.stop_store():
            log.error("stopped; the disk had failed, or what is on it is damaged: see above")
            return EXIT_DISK_FAILED
        log.info("stopped")
        return EXIT_OK

    def _new_node(self, loop: asyncio.AbstractEventLoop) -> Node:
        store = open_store(self.settings)
        try:
            return Node(self.settings, loop, store)
        except (PolicyError, SettingsError) as error:
            store.close()
            raise CannotStart(str(error)) from error

    def _reload(self) -> None:
        """SIGHUP. A file that is wrong changes nothing."""
        if self.node is None or self.listeners is None or self.stopping.is_set():
            return
        with self.notifier.reloading():
            self._take_over(self.node, self.listeners)

    def _take_over(self, node: Node, listeners: Listeners) -> None:
        try:
            settings = self.read_settings()
            context = listeners.new_context(settings)
            keys = node.tokens.keys.read_again() if node.tokens else None
            changes = node.reload(settings)
        except (SettingsError, PolicyError) as error:
            log.error("SIGHUP received: nothing is changed: %s", error)
            return
        listeners.take_over(context, settings)
        if node.tokens and keys is not None:
            node.tokens.keys.take_over(keys)
        if self.companion is not None:
            self.companion.reload()
        for name in differences(self.settings, settings):
            if name not in RELOADED and not name.startswith("first_start."):
                log.warning("SIGHUP received: %s is different now; it counts from the next start on", name)
        for change in changes:
            log.info("SIGHUP received: %s", change)
        log.info("SIGHUP received: policies changed: %d", len(changes))

    async def _listen(self, node: Node) -> Listeners:
        try:
            listeners = Listeners(node)
            await listeners.open()
        except (SettingsError, CannotListen) as error:
            raise CannotStart(str(error)) from error
        return listeners

    async def _drain(self, node: Node) -> None:
        draining = asyncio.ensure_future(node.drain(SHUTDOWN_TEXT, DRAIN_SECONDS))
        hurry = asyncio.ensure_future(self.stop_now.wait())
        await asyncio.wait([draining, hurry], return_when=asyncio.FIRST_COMPLETED)
        if not draining.done():
            log.warning("told to stop a second time: not waiting for clients any longer")
            draining.cancel()
        hurry.cancel()
        await asyncio.gather(draining, hurry, return_exceptions=True)

    def _stop(self, number: int) -> None:
        if self.stopping.is_set():
            self.stop_now.set()
            return
        log.info("%s received: stopping", signal.Signals(number).name)
        self.stopping.set()


async def start_control(node: Node) -> ControlService:
    control = ControlService(node)
    try:
        await control.start()
    except OSError as error:
        raise CannotStart(f"cannot listen on the control socket {control.path}: {error.strerror}") from error
    except KeyError:
        raise CannotStart(f"control.group: there is no group {control.group!r}") from None
    return control


async def start_companion(node: Node, control: ControlService) -> Companion:
    companion = Companion(node, str(control.path))
    try:
        await companion.start()
    except (CannotListen, SettingsError) as error:
        raise CannotStart(str(error)) from error
    return companion


def advise(node: Node) -> None:
    """Where others could connect and only guest may log in, how that can be changed."""
    settings = node.settings
    hosts = [parse_address(text)[0] for text in (*settings.amqp.listen, *settings.tls.listen)]
    users = [user.name for user in node.broker.users]
    if users == [LOOPBACK_ONLY_USER] and not node.broker.users.is_open and not all(map(is_loopback_name, hosts)):
        log.info(
            "only 'guest' can log in, and from this machine only; for clients on others: "
            "flowmq user add NAME --permit / --data-dir %s",
            shlex.quote(settings.storage.data_dir),
        )


def busy_poll_us(settings: Settings) -> int:
    """On a single core a client would wait for our looking, unless somebody says that it has another one."""
    if settings.amqp.busy_poll_us >= 0:
        return settings.amqp.busy_poll_us
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return BUSY_POLL_US if cores > 1 else 0


def is_loopback_name(host: str) -> bool:
    return host == "localhost" or is_loopback((host,))


def open_store(settings: Settings) -> Store:
    try:
        data_dir = DataDir.open_or_create(settings.storage.data_dir)
        try:
            with storage_errors(data_dir.path):
                return Store(data_dir, settings.storage.segment_bytes)
        except BaseException:
            data_dir.close()
            raise
    except StorageError as error:
        raise CannotStart(str(error)) from error
