"""Terraform with its provider for RabbitMQ: every kind of resource planned, made, changed, imported and destroyed.

terraform_program.py management HTTP-API AMQP METRICS

After each step a plan must find nothing to change: what was set reads back as it was.
"""

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote, urlsplit
from urllib.request import Request, urlopen

from report import SECONDS, check

_, _, HTTP, *_ = sys.argv
URL = urlsplit(HTTP)
ENDPOINT = f"http://{URL.hostname}:{URL.port}"
CONFIGURATION = Path(__file__).parents[1] / "terraform" / "main.tf"
ENVIRON = {
    **os.environ,
    "RABBITMQ_ENDPOINT": ENDPOINT,
    "RABBITMQ_USERNAME": "guest",
    "RABBITMQ_PASSWORD": "guest",
    "CHECKPOINT_DISABLE": "1",  # no look for a newer Terraform
}
VHOST = "managed/by terraform"
IN_VHOST = quote(VHOST, safe="")
AFTER = ("-var", "changed=true")
NOTHING, CREATE, UPDATE, REPLACE = ["no-op"], ["create"], ["update"], ["delete", "create"]
# By its address: what its change takes, and what is left to do after it was imported. A user's password cannot be read,
# and the provider imports the arguments of a binding as `arguments`, never as `arguments_json`.
RESOURCES = {
    "rabbitmq_vhost.shop": (NOTHING, NOTHING),
    "rabbitmq_vhost.renamed": (REPLACE, NOTHING),
    "rabbitmq_user.ann": (UPDATE, UPDATE),
    "rabbitmq_user.untagged": (NOTHING, UPDATE),
    "rabbitmq_permissions.ann": (UPDATE, NOTHING),
    "rabbitmq_topic_permissions.ann": (UPDATE, NOTHING),
    "rabbitmq_exchange.orders": (REPLACE, NOTHING),
    "rabbitmq_exchange.plain": (REPLACE, NOTHING),
    "rabbitmq_queue.typed": (REPLACE, NOTHING),
    "rabbitmq_queue.texts": (REPLACE, NOTHING),
    "rabbitmq_queue.plain": (REPLACE, NOTHING),
    "rabbitmq_binding.queue": (REPLACE, NOTHING),
    "rabbitmq_binding.json": (REPLACE, REPLACE),
    "rabbitmq_binding.exchange": (REPLACE, NOTHING),
    "rabbitmq_policy.limits": (UPDATE, NOTHING),
    "rabbitmq_policy.mirrored": (UPDATE, NOTHING),
    "rabbitmq_operator_policy.limits": (UPDATE, NOTHING),
    "rabbitmq_shovel.here": (REPLACE, NOTHING),
    "rabbitmq_shovel.elsewhere": (REPLACE, NOTHING),
}
# Deleted behind Terraform's back.
DELETED = {
    "rabbitmq_vhost.renamed": "vhosts/after",
    "rabbitmq_user.untagged": "users/untagged",
    "rabbitmq_permissions.ann": f"permissions/{IN_VHOST}/ann",
    "rabbitmq_topic_permissions.ann": f"topic-permissions/{IN_VHOST}/ann",
    "rabbitmq_queue.plain": f"queues/{IN_VHOST}/plain",
    "rabbitmq_binding.queue": f"bindings/{IN_VHOST}/e/orders/q/typed/{{key}}",
    "rabbitmq_policy.limits": f"policies/{IN_VHOST}/limits",
    "rabbitmq_operator_policy.limits": f"operator-policies/{IN_VHOST}/limits",
    "rabbitmq_shovel.elsewhere": f"parameters/shovel/{IN_VHOST}/elsewhere",
}
REFUSED = {
    "mistyped": "invalid arg 'x-max-length' for queue 'mistyped'",
    "federated": "parameters of the component 'federation-upstream' are not supported: only 'shovel' is",
}


def api(path: str, verb: str = "GET", user: str = "guest", password: str = "guest") -> Any:
    """What the broker answers to it; the status if that is an error."""
    credentials = base64.b64encode(f"{user}:{password}".encode()).decode()
    request = Request(f"{ENDPOINT}/api/{path}", method=verb, headers={"Authorization": f"Basic {credentials}"})
    try:
        with urlopen(request, timeout=SECONDS) as answer:
            return json.loads(answer.read() or b"null")
    except HTTPError as refused:
        return refused.code


def equal(got: object, expected: object) -> None:
    assert got == expected, got


class Workspace:
    """A directory with the configuration and a state of its own."""

    def __init__(self, directory: Path, *variables: str) -> None:
        directory.mkdir()
        shutil.copy(CONFIGURATION, directory)
        self.directory, self.variables = directory, variables

    def run(self, command: str, *arguments: str, code: int = 0) -> str:
        """What it said, of errors too; it must end with that exit code."""
        ended = subprocess.run(
            ["terraform", command, *arguments],
            cwd=self.directory,
            env=ENVIRON,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert ended.returncode == code, (command, ended.returncode, ended.stdout[-1000:])
        return ended.stdout

    def change(self, command: str, *arguments: str, code: int = 0) -> str:
        return self.run(command, "-no-color", "-input=false", *self.variables, *arguments, code=code)

    def apply(self, *arguments: str, code: int = 0) -> str:
        return self.change("apply", "-auto-approve", *arguments, code=code)

    def plan(self, *, is_empty: bool = False) -> dict[str, list[str]]:
        """What it would do, by address. Its exit code says whether that is anything."""
        self.change("plan", "-detailed-exitcode", "-out=planned", code=0 if is_empty else 2)
        changes = json.loads(self.run("show", "-json", "planned"))["resource_changes"]
        return {one["address"]: one["change"]["actions"] for one in changes if one["address"] in RESOURCES}

    def ids(self) -> dict[str, str]:
        found = json.loads(self.run("show", "-json")).get("values", {}).get("root_module", {}).get("resources", [])
        return {one["address"]: one["values"]["id"] for one in found if one["address"] in RESOURCES}


def check_plan(stage: str, planned: dict[str, list[str]], expected: Callable[[str], list[str]]) -> None:
    for address in RESOURCES:
        check(f"{stage}-{address}", lambda address=address: equal(planned.get(address), expected(address)))


def live(here: Workspace) -> None:
    """All made, then changed."""
    check_plan("planned", here.plan(), lambda _: CREATE)
    here.apply()
    check_plan("made", here.plan(is_empty=True), lambda _: NOTHING)
    arguments = {"alternate-exchange": "amq.fanout"}
    exchange = {"type": "topic", "durable": True, "auto_delete": False, "arguments": arguments}
    read = {"vhost": VHOST, "tags": ["monitoring", "own"], "exchange": exchange}
    check("data-sources", lambda: equal(json.loads(here.run("output", "-json"))["read"]["value"], read))
    here.variables = AFTER
    check_plan("to-change", here.plan(), lambda address: RESOURCES[address][0])
    here.apply()
    check_plan("changed", here.plan(is_empty=True), lambda _: NOTHING)


def look() -> None:
    """What the broker has after the change."""
    ann = ("GET", "ann", "another secret")
    check("new-password-and-tag", lambda: equal(api("whoami", *ann)["tags"], ["administrator"]))
    check("no-old-password", lambda: equal(api("whoami", "GET", "ann", "secret"), 401))
    allowed = {"user": "ann", "vhost": VHOST, "configure": "", "write": "b", "read": ".*"}
    check("new-permissions", lambda: equal(api(f"permissions/{IN_VHOST}/ann"), allowed))
    arguments = {"x-max-length": 6, "x-message-ttl": 60000, "x-overflow": "reject-publish"}
    check("new-queue", lambda: equal(api(f"queues/{IN_VHOST}/typed")["arguments"], arguments))
    check("new-exchange", lambda: equal(api(f"exchanges/{IN_VHOST}/orders")["type"], "headers"))
    check("new-policy", lambda: equal(api(f"queues/{IN_VHOST}/typed")["policy"], "limits"))
    check("no-old-vhost", lambda: equal(api("vhosts/before"), 404))


def import_all(here: Workspace, ids: dict[str, str]) -> None:
    for address, identifier in ids.items():
        check(f"import-{address}", lambda words=(address, identifier): here.change("import", *words))
    check_plan("imported", here.plan(), lambda address: RESOURCES[address][1])
    here.apply()
    check_plan("settled", here.plan(is_empty=True), lambda _: NOTHING)


def lose(here: Workspace) -> None:
    """Some are deleted by others: a plan must want those again, and those alone."""
    key = here.ids()["rabbitmq_binding.queue"].rsplit("/", 1)[1]
    for address, path in DELETED.items():
        check(f"delete-{address}", lambda path=path: equal(api(path.format(key=quote(key)), "DELETE"), None))
    check_plan("lost", here.plan(), lambda address: CREATE if address in DELETED else NOTHING)
    here.apply()
    check_plan("again", here.plan(is_empty=True), lambda _: NOTHING)


def refuse(here: Workspace, variable: str, text: str) -> None:
    said = " ".join(here.apply("-var", f"{variable}=true", code=1).split())
    assert f"Error: Error 400 (bad_request): {text}" in said, said[-1000:]


def main() -> None:
    before = [[one["name"] for one in api(what)] for what in ("vhosts", "users")]
    with tempfile.TemporaryDirectory() as directory:
        made = Workspace(Path(directory) / "made")
        live(made)
        look()
        imported = Workspace(Path(directory) / "imported", *AFTER)
        import_all(imported, made.ids())
        lose(imported)
        for variable, text in REFUSED.items():
            check(f"refused-{variable}", lambda words=(variable, text): refuse(imported, *words))
        check("destroy", lambda: imported.change("destroy", "-auto-approve"))
        check("nothing-left-in-the-state", lambda: equal(imported.ids(), {}))
        check_plan("destroyed-by-somebody-else", made.plan(), lambda _: CREATE)
        check("nothing-to-destroy", lambda: made.change("destroy", "-auto-approve"))
        after = [[one["name"] for one in api(what)] for what in ("vhosts", "users")]
        check("nothing-left-in-the-broker", lambda: equal(after, before))


if __name__ == "__main__":
    main()
