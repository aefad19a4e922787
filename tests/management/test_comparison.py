"""FlowMQ's HTTP API answers as RabbitMQ's does: statuses, keys and their types, after the same requests.

RabbitMQ's answers are a file. `make compare` asks a RabbitMQ anew, writes the file and runs these tests on it.
"""

import json
from collections.abc import Iterator

import pytest

from tests.management.comparison import KEPT, Answers, Compared, differences
from tests.management.known_differences import KEYS, STATUSES, is_known, unused
from tests.support.broker import Broker
from tests.support.http import WITH_HTTP, api_of

pytestmark = pytest.mark.flowmq_only


@pytest.fixture(scope="module")
def theirs() -> Answers:
    answers: Answers = json.loads(KEPT.read_text())
    return answers


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Answers]:
    broker = Broker(tmp_path_factory.mktemp("compared"), {**WITH_HTTP, "FLOWMQ_MANAGEMENT__SAMPLE_SECONDS": "0.2"})
    try:
        answers = Compared(broker.peer, api_of(broker).port).all_answers()
        broker.stop()
        yield answers
    finally:
        broker.kill()


def test_statuses_are_the_same(ours: Answers, theirs: Answers) -> None:
    assert list(ours) == list(theirs), "the table of requests has changed: make compare"
    found = {
        title: (ours[title]["status"], answer["status"])
        for title, answer in theirs.items()
        if ours[title]["status"] != answer["status"]
    }
    unexpected = {title: pair for title, pair in found.items() if title not in STATUSES}
    assert not unexpected, "status here, and of RabbitMQ"
    assert {title: pair[0] for title, pair in found.items()} == {title: known[0] for title, known in STATUSES.items()}


def test_every_key_is_there_and_of_the_same_type(ours: Answers, theirs: Answers) -> None:
    found = {title: what for title, what in differences(ours, theirs).items() if " | " in title}
    assert {title: what for title, what in found.items() if not is_known(title)} == {}
    # idle_since depends on the moment.
    assert [one for one in unused(set(found)) if "idle_since" not in one.key] == []


def test_what_was_compared_is_not_little(theirs: Answers) -> None:
    assert len(theirs) > 300
    assert sum(len(answer.get("keys", {})) for answer in theirs.values()) > 3000
    assert len(KEYS) < 30
