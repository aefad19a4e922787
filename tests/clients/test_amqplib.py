"""amqplib for Node, in a process of its own. Needs `node` and, once, npm's registry; says why when it has to skip."""

import json
import os
import shutil
import subprocess
import warnings
from pathlib import Path
from typing import NoReturn

import pytest

from tests.clients.program import BINDING_KEY, BODY, EXCHANGES, PROPERTIES, QUEUE
from tests.support.peer import Peer

pytestmark = [pytest.mark.clients, pytest.mark.timeout(180)]
SCRIPT = Path(__file__).with_name("amqplib_program.js")
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "flowmq-tests" / "node"
VERSION = "0.10.8"


def skip_loudly(reason: str) -> NoReturn:
    warnings.warn(f"amqplib is NOT tested: {reason}", stacklevel=2)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def amqplib() -> Path:
    """The directory whose node_modules has amqplib."""
    for program in ("node", "npm"):
        if not shutil.which(program):
            skip_loudly(f"there is no {program} on this machine")
    if not (CACHE / "node_modules" / "amqplib" / "package.json").exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        install = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(CACHE), f"amqplib@{VERSION}"]
        installed = subprocess.run(install, capture_output=True, text=True, timeout=120, check=False)
        if installed.returncode:
            skip_loudly(f"npm could not install amqplib: {installed.stderr.strip()[-300:]}")
    return CACHE


def test_the_documentations_program_confirms_and_rpc(amqplib: Path, program: Peer) -> None:
    task = {
        "url": program.url,
        "exchanges": EXCHANGES,
        "queue": QUEUE,
        "key": BINDING_KEY,
        "body": BODY.decode(),
        "properties": PROPERTIES,
    }
    ended = subprocess.run(
        ["node", str(SCRIPT), json.dumps(task)],
        env={**os.environ, "NODE_PATH": str(amqplib / "node_modules")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    output = json.loads(ended.stdout)
    assert output["program"]["body"] == BODY.decode()
    arrived = output["program"]["properties"]
    for field, value in PROPERTIES.items():
        first, *rest = field.split("_")
        assert arrived[first + "".join(word.capitalize() for word in rest)] == value, field
    assert output["confirms"] == 50
    assert output["small"] == 50
    assert output["rpc"] == {"body": "QUESTION", "correlation": "7"}
    assert output["refusal"] == 404
