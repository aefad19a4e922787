"""What the control plane's codec costs: one declaration in, one answer out. Run with `pytest bench --benchmark-enable`.

These run per declaration, never per message; the octets of messages are parsed in C, which `python -m bench` measures.
"""

from collections.abc import Callable
from typing import Any

import pytest

METHODS = "flowmq.amqp.methods is not there yet"
TABLES = "flowmq.amqp.tables is not there yet"

ARGUMENTS = {
    "x-message-ttl": 60_000,
    "x-max-length": 100_000,
    "x-dead-letter-exchange": "dead",
    "x-queue-type": "classic",
    "x-single-active-consumer": True,
}
NESTED = {"trace": {"id": "0123456789abcdef", "spans": [1, 2, 3], "sampled": True}, "weight": 0.5, "raw": b"\0" * 16}

# Written out, so that what is decoded does not come from the encoder that is measured beside it.
QUEUE_DECLARE = b"\0\0" + b"\x10order-processing" + b"\x02" + b"\0\0\0\x00"
BASIC_CONSUME = b"\0\0" + b"\x10order-processing" + b"\x08consumer" + b"\0" + b"\0\0\0\x00"
TABLE = b"\x0dx-message-ttlI\0\0\xea\x60" + b"\x0cx-max-lengthI\0\x01\x86\xa0" + b"\x0cx-queue-typeS\0\0\0\x07classic"

Benchmark = Callable[..., Any]


@pytest.mark.parametrize(
    ("class_id", "method_id", "arguments"),
    [(50, 10, QUEUE_DECLARE), (60, 20, BASIC_CONSUME)],
    ids=["queue.declare", "basic.consume"],
)
def test_decode_method(benchmark: Benchmark, class_id: int, method_id: int, arguments: bytes) -> None:
    methods = pytest.importorskip("flowmq.amqp.methods", reason=METHODS)
    method = benchmark(methods.decode_method, class_id, method_id, arguments)
    assert method.queue == "order-processing"


def test_encode_queue_declare_ok(benchmark: Benchmark) -> None:
    methods = pytest.importorskip("flowmq.amqp.methods", reason=METHODS)
    answer = methods.QueueDeclareOk(queue="order-processing", message_count=3, consumer_count=1)
    octets = benchmark(answer.encode)
    assert octets == b"\0\x32\0\x0b" + b"\x10order-processing" + b"\0\0\0\x03" + b"\0\0\0\x01"


def test_decode_table(benchmark: Benchmark) -> None:
    tables = pytest.importorskip("flowmq.amqp.tables", reason=TABLES)
    table = benchmark(tables.decode_table, TABLE)
    assert table == {"x-message-ttl": 60_000, "x-max-length": 100_000, "x-queue-type": "classic"}


@pytest.mark.parametrize("table", [ARGUMENTS, NESTED], ids=["arguments", "nested headers"])
def test_encode_table(benchmark: Benchmark, table: dict[str, object]) -> None:
    tables = pytest.importorskip("flowmq.amqp.tables", reason=TABLES)
    octets = benchmark(tables.encode_table, table)
    assert tables.decode_table(octets[4:]) == table
