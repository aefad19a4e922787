"""What the container image makes of the variables and files that were written for RabbitMQ's image."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flowmq.server.config import load_settings
from flowmq.server.memory import available_bytes

FILE = Path(__file__).parents[2] / "packaging" / "entrypoint.py"
SPEC = importlib.util.spec_from_file_location("entrypoint", FILE)
assert SPEC
assert SPEC.loader
entrypoint: Any = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(entrypoint)


def translated(tmp_path: Path, environ: dict[str, str], **files: str) -> Any:
    for name, text in files.items():
        file = tmp_path / name.replace("__", "/").replace("conf_d/", "conf.d/").replace("_conf", ".conf")
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    made = entrypoint.Translation(environ, tmp_path)
    made.translate()
    return made


def settings(tmp_path: Path, environ: dict[str, str], **files: str) -> dict[str, str]:
    """What is understood, with nothing else to say; FlowMQ must be able to read it."""
    made = translated(tmp_path, environ, **files)
    assert (made.wrong, made.warnings) == ([], [])
    load_settings(None, made.settings, {})
    return dict(made.settings)


EVERYWHERE = {"FLOWMQ_LIMITS__DEFAULT_USER_LOOPBACK_ONLY": "false"}


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, {}),
        ({"RABBITMQ_DEFAULT_USER": "", "PATH": "/bin"}, {}),
        (  # testcontainers, for Java, Go and Node
            {"RABBITMQ_DEFAULT_USER": "guest", "RABBITMQ_DEFAULT_PASS": "guest"},
            {"FLOWMQ_FIRST_START__USER": "guest", "FLOWMQ_FIRST_START__PASSWORD": "guest", **EVERYWHERE},
        ),
        (  # for Python
            {
                "RABBITMQ_NODE_PORT": "5672",
                "RABBITMQ_DEFAULT_USER": "ann",
                "RABBITMQ_DEFAULT_PASS": "a b#c",
                "RABBITMQ_DEFAULT_VHOST": "/",
            },
            {
                "FLOWMQ_AMQP__LISTEN": "0.0.0.0:5672",
                "FLOWMQ_FIRST_START__USER": "ann",
                "FLOWMQ_FIRST_START__PASSWORD": "a b#c",
                "FLOWMQ_FIRST_START__VHOST": "/",
                **EVERYWHERE,
            },
        ),
        (
            {"RABBITMQ_DEFAULT_PASS_FILE": "/run/secrets/password"},
            {"FLOWMQ_FIRST_START__PASSWORD_FILE": "/run/secrets/password", **EVERYWHERE},
        ),
        ({"RABBITMQ_NODE_IP_ADDRESS": "::1"}, {"FLOWMQ_AMQP__LISTEN": "[::1]:5672"}),
        ({"RABBITMQ_LOG": "debug", "RABBITMQ_LOGS": "-"}, {"FLOWMQ_LOG__LEVEL": "debug"}),
        (  # of the image before 3.9, and testcontainers' withSSL for it
            {
                "RABBITMQ_SSL_CERTFILE": "c",
                "RABBITMQ_SSL_KEYFILE": "k",
                "RABBITMQ_SSL_CACERTFILE": "a",
                "RABBITMQ_SSL_VERIFY": "verify_peer",
            },
            {
                "FLOWMQ_TLS__CERTIFICATE": "c",
                "FLOWMQ_TLS__KEY": "k",
                "FLOWMQ_TLS__CLIENT_CA": "a",
                "FLOWMQ_TLS__CLIENT_CERTIFICATES": "optional",
                "FLOWMQ_TLS__LISTEN": "0.0.0.0:5671",
            },
        ),
        (  # a service named rabbitmq in Kubernetes, and Docker's links
            {
                "RABBITMQ_PORT": "tcp://10.0.0.1:5672",
                "RABBITMQ_SERVICE_HOST": "10.0.0.1",
                "RABBITMQ_SERVICE_PORT_AMQP": "5672",
                "RABBITMQ_MANAGEMENT_PORT_15672_TCP_ADDR": "10.0.0.1",
            },
            {},
        ),
        ({"RABBITMQ_ENABLED_PLUGINS": "rabbitmq_management,rabbitmq_shovel"}, {}),
    ],
)
def test_variables(tmp_path: Path, environ: dict[str, str], expected: dict[str, str]) -> None:
    assert settings(tmp_path, environ) == expected


CONF = """
# Injected by somebody
default_user = bob
default_pass = 'of the file'   # which everybody may read
default_vhost = orders
default_user_tags.administrator = true
default_user_tags.monitoring = true
default_user_tags.policymaker = false
default_permissions.configure = .*
loopback_users.guest = false
listeners.tcp.1 = 5672
listeners.tcp.2 = ::1:5673
listeners.ssl.default = [::]:5671
ssl_options.certfile = /etc/rabbitmq/rabbitmq_cert.pem
ssl_options.keyfile = /etc/rabbitmq/rabbitmq_key.pem
ssl_options.cacertfile = /etc/rabbitmq/ca_cert.pem
ssl_options.verify = verify_peer
ssl_options.fail_if_no_peer_cert = true
heartbeat = 30
disk_free_limit.absolute = 1GB
vm_memory_high_watermark.absolute = 800MiB
load_definitions = /etc/rabbitmq/definitions.json
management.tcp.port = 8080
management.tcp.ip = 127.0.0.1
log.console.level = warning
collect_statistics_interval = 2500
"""


def test_a_file(tmp_path: Path) -> None:
    assert settings(tmp_path, {"RABBITMQ_DEFAULT_USER": "ann"}, rabbitmq_conf=CONF) == {
        "FLOWMQ_FIRST_START__USER": "ann",
        "FLOWMQ_FIRST_START__PASSWORD": "of the file",
        "FLOWMQ_FIRST_START__VHOST": "orders",
        "FLOWMQ_FIRST_START__TAGS": "administrator,monitoring",
        "FLOWMQ_LIMITS__DEFAULT_USER_LOOPBACK_ONLY": "false",
        "FLOWMQ_AMQP__LISTEN": "0.0.0.0:5672,[::1]:5673",
        "FLOWMQ_TLS__LISTEN": "0.0.0.0:5671",
        "FLOWMQ_TLS__CERTIFICATE": "/etc/rabbitmq/rabbitmq_cert.pem",
        "FLOWMQ_TLS__KEY": "/etc/rabbitmq/rabbitmq_key.pem",
        "FLOWMQ_TLS__CLIENT_CA": "/etc/rabbitmq/ca_cert.pem",
        "FLOWMQ_TLS__CLIENT_CERTIFICATES": "required",
        "FLOWMQ_AMQP__HEARTBEAT": "30",
        "FLOWMQ_LIMITS__DISK_FREE_BYTES_MIN": "1000000000",
        "FLOWMQ_LIMITS__MEMORY_BYTES_MAX": str(1000 * 2**20),
        "FLOWMQ_DEFINITIONS__FILE": "/etc/rabbitmq/definitions.json",
        "FLOWMQ_MANAGEMENT__LISTEN": "127.0.0.1:8080",
        "FLOWMQ_LOG__LEVEL": "warning",
        "FLOWMQ_MANAGEMENT__SAMPLE_SECONDS": "2.5",
    }


def test_files_beside_it_come_later(tmp_path: Path) -> None:
    found = settings(tmp_path, {}, rabbitmq_conf="heartbeat = 30\nframe_max = 8192", conf_d__20_conf="heartbeat = 20")
    assert found == {"FLOWMQ_AMQP__HEARTBEAT": "20", "FLOWMQ_AMQP__FRAME_MAX": "8192"}


@pytest.mark.parametrize("named", ["special.conf", "special"])
def test_a_file_of_another_name(tmp_path: Path, named: str) -> None:
    """testcontainers for Go always makes one; the name may lack its end."""
    environ = {"RABBITMQ_CONFIG_FILE": str(tmp_path / named)}
    found = settings(tmp_path, environ, rabbitmq_conf="heartbeat = 30", special_conf="listeners.tcp = 1\nheartbeat=5\n")
    assert found == {"FLOWMQ_AMQP__LISTEN": "0.0.0.0:1", "FLOWMQ_AMQP__HEARTBEAT": "5"}


def test_the_share_of_memory_where_publishers_wait(tmp_path: Path) -> None:
    found = settings(tmp_path, {}, rabbitmq_conf="vm_memory_high_watermark.relative = 0.4")
    assert int(found["FLOWMQ_LIMITS__MEMORY_BYTES_MAX"]) == pytest.approx(available_bytes() / 2, abs=2)


@pytest.mark.parametrize(
    ("environ", "files", "complaint"),
    [
        ({"RABBITMQ_MNESIA_BASE": "/data"}, {}, "RABBITMQ_MNESIA_BASE: data is kept at /var/lib/flowmq"),
        ({"RABBITMQ_ADVANCED_CONFIG_FILE": "a"}, {}, "RABBITMQ_ADVANCED_CONFIG_FILE: Erlang's terms cannot be read"),
        ({"RABBITMQ_LOG": "+color"}, {}, "log.console.level is '+color', and can be debug or info or warning or error"),
        ({"RABBITMQ_ENABLED_PLUGINS": "rabbitmq_stream"}, {}, "the plugin rabbitmq_stream is not part of FlowMQ"),
        ({}, {"enabled_plugins": "[rabbitmq_management, rabbitmq_mqtt]."}, "the plugin rabbitmq_mqtt is not part of"),
        ({}, {"rabbitmq_conf": "consumer_timeout = 1800000"}, "consumer_timeout: use a policy with consumer-timeout"),
        ({}, {"rabbitmq_conf": "mqtt.listeners.tcp.default = 1883"}, "mqtt.listeners.tcp.default: FlowMQ cannot do"),
        (
            {},
            {"rabbitmq_conf": "default_permissions.read = ^a"},
            "default_permissions.read is '^a', and can be .* here",
        ),
        ({}, {"rabbitmq_conf": "loopback_users.ann = true"}, "loopback_users.ann can be said of guest alone"),
        ({}, {"rabbitmq_conf": "disk_free_limit.absolute = 5 bananas"}, "disk_free_limit.absolute is '5 bananas'"),
        ({}, {"rabbitmq_conf": "[{rabbit, []}]."}, "line 1: not KEY = VALUE"),
        ({}, {"rabbitmq-env_conf": "NODENAME=a"}, "rabbitmq-env.conf: this is not read"),
    ],
)
def test_what_would_be_another_broker_is_refused(
    tmp_path: Path, environ: dict[str, str], files: dict[str, str], complaint: str
) -> None:
    [wrong] = translated(tmp_path, environ, **files).wrong
    assert complaint in wrong


@pytest.mark.parametrize(
    ("environ", "text", "complaint"),
    [
        ({"RABBITMQ_ERLANG_COOKIE": "c"}, "", "RABBITMQ_ERLANG_COOKIE: it has no meaning here"),
        ({"RABBITMQ_USERNAME": "ann"}, "", "RABBITMQ_USERNAME: neither RabbitMQ nor FlowMQ knows this variable"),
        ({"RABBITMQ_LOGS": "/var/log/a"}, "", "RABBITMQ_LOGS: the log goes to standard error"),
        ({"RABBITMQ_CONFIG_FILE": "/nowhere/a"}, "", "RABBITMQ_CONFIG_FILE: /nowhere/a: there is no such file"),
        ({"RABBITMQ_DEFAULT_USER": "ann"}, "", "a user without a password is given: it is 'guest'"),
        ({}, "cluster_partition_handling = ignore", "cluster_partition_handling: it has no meaning here"),
        ({}, "ssl_options.depth = 1", "ssl_options.depth: it has no meaning here"),
    ],
)
def test_what_means_nothing_is_told(tmp_path: Path, environ: dict[str, str], text: str, complaint: str) -> None:
    made = translated(tmp_path, environ, rabbitmq_conf=text)
    assert made.wrong == []
    [warning] = made.warnings
    assert complaint in warning


def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    # A build with sanitizers does not start without these.
    kept = {name: os.environ[name] for name in ("LD_PRELOAD", "ASAN_OPTIONS", "PYTHONMALLOC") if name in os.environ}
    return subprocess.run(
        [sys.executable, str(FILE), *arguments],
        env={"PATH": path, **kept, **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_it_becomes_flowmq() -> None:
    done = run("config", "show", RABBITMQ_DEFAULT_USER="ann", RABBITMQ_DEFAULT_PASS="b", RABBITMQ_NODENAME="a@b")
    assert (done.returncode, done.stderr) == (0, "flowmq: warning: RABBITMQ_NODENAME: it has no meaning here\n")
    assert 'user = "ann"\npassword = "********"' in done.stdout


def test_the_words_that_testcontainers_for_go_waits_for(tmp_path: Path) -> None:
    made = translated(tmp_path, {}, rabbitmq_conf="listeners.ssl.default = 5671\nssl_options.certfile = a.pem\n")
    assert made.notes == ["0.0.0.0:5671 is what RabbitMQ tells of as: started TLS (SSL) listener on [::]:5671"]


def test_flowmqs_own_variables_count_more() -> None:
    done = run("config", "show", RABBITMQ_NODE_PORT="5673", FLOWMQ_AMQP__LISTEN="localhost:1")
    assert 'listen = ["localhost:1"]' in done.stdout


def test_it_says_what_is_wrong_and_does_not_start() -> None:
    done = run("rabbitmq-server", RABBITMQ_MNESIA_DIR="/a", RABBITMQ_ENABLED_PLUGINS="rabbitmq_mqtt")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 2


def test_other_commands_are_left_alone() -> None:
    done = run("--version", RABBITMQ_MNESIA_DIR="/a")
    assert (done.returncode, done.stderr) == (0, "")


def test_the_plugins_are_those_of_the_command() -> None:
    shim = (FILE.parent / "shims" / "rabbitmq-plugins").read_text()
    assert set(shim.split('PLUGINS="')[1].split('"')[0].split()) == entrypoint.PLUGINS
