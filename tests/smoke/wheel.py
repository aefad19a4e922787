"""Installs a wheel into a new virtual environment elsewhere and tries the broker there. python wheel.py WHEEL

Shows that the wheel holds all it needs: nothing of the source tree can be imported by the installed broker. The client
program runs in the calling environment, which has pika.
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Timer

import pika

DEADLINE_SECONDS = 60


def main(wheel: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="flowmq-wheel-") as name:
        place = Path(name)
        installed = install(wheel, place)
        check_origin(installed, place)
        with running_broker(installed, place) as port:
            declare_publish_consume(port)
    print(f"{wheel.name}: installed, served and stopped")


def install(wheel: Path, place: Path) -> Path:
    """The bin directory of a new virtual environment that holds the wheel and what it requires."""
    venv.create(place / "venv", with_pip=True)
    installed = place / "venv" / "bin"
    pip = [installed / "python", "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, wheel], cwd=place, check=True)
    return installed


def check_origin(installed: Path, place: Path) -> None:
    program = "import flowmq, flowmq._frame; print(flowmq.__file__); print(flowmq._frame.__file__)"
    run = subprocess.run([installed / "python", "-c", program], cwd=place, check=True, capture_output=True, text=True)
    for origin in run.stdout.split():
        assert Path(origin).is_relative_to(place), f"{origin} is not of the wheel"


@contextmanager
def running_broker(installed: Path, place: Path) -> Iterator[int]:
    """The port of a broker that is ready; at the end SIGTERM must stop it with code 0 and without a traceback."""
    arguments = [installed / "flowmq", "serve", "--listen", "127.0.0.1:0", "--data-dir", place / "data"]
    # Any free ports: the usual ones may be taken.
    environ = {**os.environ, "FLOWMQ_MANAGEMENT__LISTEN": "127.0.0.1:0", "FLOWMQ_METRICS__LISTEN": "127.0.0.1:0"}
    broker = subprocess.Popen(arguments, cwd=place, stderr=subprocess.PIPE, text=True, env=environ)
    deadline = Timer(DEADLINE_SECONDS, broker.kill)
    deadline.start()
    log: list[str] = []
    try:
        yield port_when_ready(broker, log)
        broker.send_signal(signal.SIGTERM)
        _, rest = broker.communicate()
        log += rest.splitlines(keepends=True)
        assert broker.returncode == 0, f"ended with {broker.returncode}"
        assert not any("Traceback" in line for line in log)
    except BaseException:
        print("".join(log), file=sys.stderr)
        raise
    finally:
        deadline.cancel()
        broker.kill()
        broker.wait()


def port_when_ready(broker: subprocess.Popen[str], log: list[str]) -> int:
    port = 0
    assert broker.stderr is not None
    # readline, not iteration: that would read ahead of communicate().
    for line in iter(broker.stderr.readline, ""):
        log.append(line)
        if found := re.search(r"AMQP listener started on 127\.0\.0\.1:(\d+)", line):
            port = int(found[1])
        if port and "Server startup complete" in line:
            return port
    raise AssertionError("the broker ended, or was not ready in time")


def declare_publish_consume(port: int) -> None:
    body = bytes(range(256)) * 4096
    with pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", port)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.queue_declare("smoke", durable=True)
        channel.basic_publish("", "smoke", body, pika.BasicProperties(delivery_mode=2), mandatory=True)
        for method, _, received in channel.consume("smoke", inactivity_timeout=DEADLINE_SECONDS):
            assert received == body, "not what was published"
            channel.basic_ack(method.delivery_tag)
            break
        channel.cancel()
        assert channel.queue_delete("smoke").method.message_count == 0


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
