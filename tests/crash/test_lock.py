"""A data directory belongs to one broker at a time, for as long as its process lives and no longer."""

import subprocess
from collections.abc import Callable

import pytest

from tests.support.broker import ROOT, Broker, command, environment
from tests.support.wire import connect

pytestmark = pytest.mark.flowmq_only
REFUSAL_SECONDS = 20


def test_second_broker_is_refused_with_one_line(own_broker: Callable[..., Broker]) -> None:
    broker = own_broker()
    second = subprocess.run(
        command("serve", "--listen", "127.0.0.1:0", "--data-dir", str(broker.data_dir)),
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=REFUSAL_SECONDS,
        check=False,
    )
    assert second.returncode == 1, second.stderr
    assert "Traceback" not in second.stderr
    assert "startup complete" not in second.stderr
    lines = [line for line in second.stderr.splitlines() if str(broker.data_dir) in line]
    assert len(lines) == 1, second.stderr
    assert str(broker.pid) in lines[0], "it does not say which process holds the directory"
    with connect(broker.peer) as client:  # the first one did not notice
        client.channel().queue("q", durable=True)
    broker.stop()


@pytest.mark.parametrize("end", ["kill", "stop"])
def test_lock_goes_with_the_process(own_broker: Callable[..., Broker], end: str) -> None:
    broker = own_broker()
    getattr(broker, end)()
    again = broker.again()
    try:
        again.stop()
    finally:
        again.kill()
