"""Users, virtual hosts and permissions of the broker under test: FlowMQ by its control socket, RabbitMQ by its own."""

import shlex
import subprocess
from pathlib import Path
from typing import Protocol

from flowmq.server.control import place
from flowmq.server.control.client import ControlConnection

CTL_SECONDS = 60.0


class Accounts(Protocol):
    def add_user(self, name: str, password: str, *tags: str) -> None: ...
    def delete_user(self, name: str) -> None: ...
    def set_password(self, name: str, password: str) -> None: ...
    def set_tags(self, name: str, *tags: str) -> None: ...
    def add_vhost(self, name: str) -> None: ...
    def delete_vhost(self, name: str) -> None: ...
    def permit(self, user: str, vhost: str, configure: str = ".*", write: str = ".*", read: str = ".*") -> None: ...
    def forbid(self, user: str, vhost: str) -> None: ...
    def permit_topics(self, user: str, vhost: str, exchange: str, write: str, read: str) -> None: ...
    def forget_topics(self, user: str, vhost: str) -> None: ...


class FlowMQAccounts:
    def __init__(self, data_dir: Path) -> None:
        self.control = ControlConnection(data_dir / place.NAME)

    def add_user(self, name: str, password: str, *tags: str) -> None:
        self.control.call("user.add", name=name, password=password, tags=list(tags))

    def delete_user(self, name: str) -> None:
        self.control.call("user.delete", name=name)

    def set_password(self, name: str, password: str) -> None:
        self.control.call("user.set_password", name=name, password=password)

    def set_tags(self, name: str, *tags: str) -> None:
        self.control.call("user.set_tags", name=name, tags=list(tags))

    def add_vhost(self, name: str) -> None:
        self.control.call("vhost.add", name=name)

    def delete_vhost(self, name: str) -> None:
        self.control.call("vhost.delete", name=name)

    def permit(self, user: str, vhost: str, configure: str = ".*", write: str = ".*", read: str = ".*") -> None:
        self.control.call("permission.set", user=user, vhost=vhost, configure=configure, write=write, read=read)

    def forbid(self, user: str, vhost: str) -> None:
        self.control.call("permission.clear", user=user, vhost=vhost)

    def permit_topics(self, user: str, vhost: str, exchange: str, write: str, read: str) -> None:
        self.control.call("topic_permission.set", user=user, vhost=vhost, exchange=exchange, write=write, read=read)

    def forget_topics(self, user: str, vhost: str) -> None:
        self.control.call("topic_permission.clear", user=user, vhost=vhost)


class RabbitMQAccounts:
    def __init__(self, command: str) -> None:
        self.command = [*shlex.split(command), "-q"]

    def _run(self, *arguments: str) -> None:
        done = subprocess.run([*self.command, *arguments], capture_output=True, text=True, timeout=CTL_SECONDS)
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"

    def add_user(self, name: str, password: str, *tags: str) -> None:
        self._run("add_user", name, password)
        if tags:
            self.set_tags(name, *tags)

    def delete_user(self, name: str) -> None:
        self._run("delete_user", name)

    def set_password(self, name: str, password: str) -> None:
        self._run("change_password", name, password)

    def set_tags(self, name: str, *tags: str) -> None:
        self._run("set_user_tags", name, *tags)

    def add_vhost(self, name: str) -> None:
        self._run("add_vhost", name)

    def delete_vhost(self, name: str) -> None:
        self._run("delete_vhost", name)

    def permit(self, user: str, vhost: str, configure: str = ".*", write: str = ".*", read: str = ".*") -> None:
        self._run("set_permissions", "-p", vhost, user, configure, write, read)

    def forbid(self, user: str, vhost: str) -> None:
        self._run("clear_permissions", "-p", vhost, user)

    def permit_topics(self, user: str, vhost: str, exchange: str, write: str, read: str) -> None:
        self._run("set_topic_permissions", "-p", vhost, user, exchange, write, read)

    def forget_topics(self, user: str, vhost: str) -> None:
        self._run("clear_topic_permissions", "-p", vhost, user)
