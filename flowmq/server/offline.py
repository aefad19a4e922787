"""Users, virtual hosts and permissions of a data directory that no broker uses: the same commands, without a broker.

Holds the directory's lock. Reads the journal and adds definitions to it; of queues it knows no more than the
definitions say, and leaves their messages as they are.
"""

import asyncio
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from flowmq.broker.broker import Broker
from flowmq.broker.users import Users
from flowmq.server.authentication import Authenticator, configured_user
from flowmq.server.config import Settings
from flowmq.server.control import commands
from flowmq.server.control.registry import arguments_of, as_control_error, find
from flowmq.server.node import Node
from flowmq.storage.layout import DataDir, StorageError, storage_errors
from flowmq.storage.store import Store

NOUNS = ("user.", "vhost.", "permission.", "topic_permission.")  # whose commands need no running broker
READING = (".list", ".get", ".authenticate")

assert commands.__doc__, "imported for the commands that it registers"


class OfflineNode:
    """What those commands use of a Node."""

    def __init__(self, settings: Settings, store: Store, loop: asyncio.AbstractEventLoop) -> None:
        self.store = store
        users = Users(
            [configured_user(user) for user in settings.users],
            default_user_loopback_only=settings.limits.default_user_loopback_only,
            definitions=store,
        )
        self.authenticator = Authenticator(users, loop)
        self.broker = Broker(users, definitions=store, first=settings.first_start.first())
        store.restore_access(self.broker)
        self.broker.configure_policies(
            policy for policy in settings.all_policies() if policy.vhost in self.broker.vhosts
        )

    async def delete_vhost(self, name: str) -> None:
        for _ in self.broker.delete_vhost(name):
            pass


class Offline:
    """An open data directory, seen as the other end of a control socket."""

    def __init__(self, settings: Settings, store: Store, runner: asyncio.Runner) -> None:
        self.runner = runner
        self.store = store
        self.is_writing = False
        self.node = OfflineNode(settings, store, runner.get_loop())

    def call(self, command: str, **arguments: Any) -> Any:
        """The value; of a command that lists, the rows. ControlError as a broker would answer it."""
        assert command.startswith(NOUNS), f"{command} needs a running broker"
        found = find(command)
        if not self.is_writing and not command.endswith(READING):
            self.store.start_definitions()
            self.is_writing = True
        try:
            return self.runner.run(self._run(found.run, arguments_of(found, arguments)))
        except Exception as error:
            known = as_control_error(error)
            if known is None:
                raise
            raise known from error

    async def _run(self, run: Any, asked: Any) -> Any:
        value = run(cast(Node, self.node), asked)
        if inspect.isawaitable(value):
            value = await value
        return list(value) if isinstance(value, Iterator) else value


@contextmanager
def offline(settings: Settings) -> Iterator[Offline]:
    """What was changed is on disk when it ends without an exception."""
    path = Path(settings.storage.data_dir)
    with DataDir.open(path) as directory, asyncio.Runner() as runner:
        directory.lock()
        with storage_errors(path):
            store = Store(directory, settings.storage.segment_bytes)
        made = Offline(settings, store, runner)
        try:
            yield made
        finally:
            made.node.authenticator.close()
            store.close()
        if store.journal.error:
            raise StorageError(f"{directory.journal}: the disk failed: nothing was changed that can be relied on")
