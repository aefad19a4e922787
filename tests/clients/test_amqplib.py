"""amqplib for Node, in a process of its own. Needs `node` and, once, npm's registry; says why when it has to skip."""

import json
from pathlib import Path

import pytest

from tests.clients.node import installed, run
from tests.clients.program import BINDING_KEY, BODY, EXCHANGES, PROPERTIES, QUEUE
from tests.support.peer import Peer

pytestmark = [pytest.mark.clients, pytest.mark.timeout(180)]
SCRIPT = Path(__file__).with_name("amqplib_program.js")


@pytest.fixture(scope="session")
def amqplib() -> Path:
    """The directory whose node_modules has amqplib."""
    return installed("amqplib@0.10.8")


def test_the_documentations_program_confirms_and_rpc(amqplib: Path, program: Peer) -> None:
    task = {
        "url": program.url,
        "exchanges": EXCHANGES,
        "queue": QUEUE,
        "key": BINDING_KEY,
        "body": BODY.decode(),
        "properties": PROPERTIES,
    }
    output = json.loads(run(SCRIPT, amqplib, json.dumps(task)))
    assert output["program"]["body"] == BODY.decode()
    arrived = output["program"]["properties"]
    for field, value in PROPERTIES.items():
        first, *rest = field.split("_")
        assert arrived[first + "".join(word.capitalize() for word in rest)] == value, field
    assert output["confirms"] == 50
    assert output["small"] == 50
    assert output["rpc"] == {"body": "QUESTION", "correlation": "7"}
    assert output["refusal"] == 404
