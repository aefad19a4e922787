"""The first process of the container image: understands what was written for RabbitMQ's image, and becomes `flowmq`.

    entrypoint.py serve ...        variables RABBITMQ_..., rabbitmq.conf and enabled_plugins become settings of FlowMQ's
    entrypoint.py rabbitmq-server  the same
    entrypoint.py anything else    flowmq, with that

What is set both here and as FLOWMQ_... is as FLOWMQ_... says. What has no meaning without Erlang and a cluster, and
what RabbitMQ does not know either, is told in a warning. What would be another broker than the one that was asked for
does not start: a line for all that is wrong, and exit code 2.
"""

import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

EXIT_USAGE = 2
TRANSLATED = ("serve", "config")  # `config show` tells what `serve` would do
ETC, DATA = Path("/etc/rabbitmq"), Path("/var/lib/rabbitmq")
PREFIX = "RABBITMQ_"
ALARM_PERCENT = 80  # of limits.memory_bytes_max: where publishers begin to wait
UNITS = {"": 1, "k": 2**10, "kib": 2**10, "kb": 10**3, "m": 2**20, "mib": 2**20, "mb": 10**6}
UNITS |= {"g": 2**30, "gib": 2**30, "gb": 10**9, "t": 2**40, "tib": 2**40, "tb": 10**12}
PLUGINS = {
    *("rabbitmq_management", "rabbitmq_management_agent", "rabbitmq_prometheus", "rabbitmq_web_dispatch"),
    *("rabbitmq_consistent_hash_exchange", "rabbitmq_delayed_message_exchange", "rabbitmq_random_exchange"),
    *("rabbitmq_recent_history_exchange", "rabbitmq_sharding", "rabbitmq_shovel", "rabbitmq_shovel_management"),
}
# Kubernetes and Docker make these for every service of such a name.
OF_A_SERVICE = re.compile(r"RABBITMQ\w*?_(SERVICE_(HOST|PORT)|PORT_\d+_(TCP|UDP))\w*")

Settings = dict[str, str]  # variables of FlowMQ's
Write = Callable[[Settings, str, str], None]  # the settings, what follows the key's stem, the value


class Wrong(ValueError):
    """This broker cannot be as asked; the reason, for the operator."""


# ------------------------------------------------------------------------------------------- values of rabbitmq.conf


def setting(name: str, of: Callable[[str], str] = str) -> Write:
    """`section.key`, from a value."""
    variable = "FLOWMQ_" + name.replace(".", "__").upper()

    def write(settings: Settings, rest: str, value: str) -> None:
        settings[variable] = of(value)

    return write


def one_of(**known: str) -> Callable[[str], str]:
    def of(value: str) -> str:
        if value not in known:
            raise Wrong(f"is {value!r}, and can be {' or '.join(known)} here")
        return known[value]

    return of


def only(*possible: str) -> Write:
    """As FlowMQ is anyway."""

    def write(settings: Settings, rest: str, value: str) -> None:
        one_of(**dict.fromkeys(possible, ""))(value)

    return write


def octets(text: str) -> int:
    number = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-zA-Z]*)", text)
    if number is None or number[2].lower() not in UNITS:
        raise Wrong(f"is {text!r}: no number of octets")
    return int(float(number[1]) * UNITS[number[2].lower()])


def watermark(settings: Settings, rest: str, value: str) -> None:
    """Where publishers begin to wait is a share of the limit here."""
    if rest == "relative":
        from flowmq.server.memory import available_bytes

        try:
            alarm_bytes = int(available_bytes() * float(value))
        except ValueError:
            raise Wrong(f"is {value!r}: no number") from None
    else:
        alarm_bytes = octets(value)
    settings["FLOWMQ_LIMITS__MEMORY_BYTES_MAX"] = str(alarm_bytes * 100 // ALARM_PERCENT)


def listener(section: str) -> Write:
    variable = f"FLOWMQ_{section}__LISTEN"

    def write(settings: Settings, rest: str, value: str) -> None:
        """Of several, each has a key of its own."""
        before = settings.get(variable, "")
        settings[variable] = "" if value == "none" else ",".join(filter(None, [before, address(value)]))

    return write


def address(value: str) -> str:
    host, _, port = value.rpartition(":")
    return f"{in_brackets(host.strip('[]'))}:{port}"


def in_brackets(host: str) -> str:
    """All of IPv6 is all of IPv4 too in RabbitMQ, and a container may have no IPv6."""
    return "0.0.0.0" if host in ("", "::") else f"[{host}]" if ":" in host else host


def place(section: str, usual_port: int) -> Write:
    """A key for the port and one for the address."""
    variable = f"FLOWMQ_{section}__LISTEN"

    def write(settings: Settings, rest: str, value: str) -> None:
        host, _, port = settings.get(variable, f"0.0.0.0:{usual_port}").rpartition(":")
        settings[variable] = f"{host}:{value}" if rest == "port" else f"{in_brackets(value)}:{port}"

    return write


def tag(settings: Settings, rest: str, value: str) -> None:
    if one_of(true="true", false="")(value):
        variable = "FLOWMQ_FIRST_START__TAGS"
        settings[variable] = ",".join(filter(None, [settings.get(variable, ""), rest]))


def loopback(settings: Settings, rest: str, value: str) -> None:
    if rest not in ("", "guest") or (not rest and value != "none"):
        raise Wrong("can be said of guest alone")
    open_to_all = not rest or not one_of(true="true", false="")(value)
    settings["FLOWMQ_LIMITS__DEFAULT_USER_LOOPBACK_ONLY"] = "false" if open_to_all else "true"


SECONDS = setting("management.sample_seconds", lambda value: str(int(value) / 1000))
LEVEL = setting("log.level", one_of(debug="debug", info="info", warning="warning", error="error"))

# Of rabbitmq.conf. A key that ends with a dot stands for all that begin so.
KEYS: dict[str, Write] = {
    "default_user": setting("first_start.user"),
    "default_pass": setting("first_start.password"),
    "default_vhost": setting("first_start.vhost"),
    "default_user_tags.": tag,
    "default_permissions.": only(".*"),
    "loopback_users": loopback,
    "loopback_users.": loopback,
    "listeners.tcp": listener("AMQP"),
    "listeners.tcp.": listener("AMQP"),
    "listeners.ssl": listener("TLS"),
    "listeners.ssl.": listener("TLS"),
    "ssl_options.cacertfile": setting("tls.client_ca"),
    "ssl_options.certfile": setting("tls.certificate"),
    "ssl_options.keyfile": setting("tls.key"),
    "ssl_options.verify": only("verify_none", "verify_peer"),
    "ssl_options.fail_if_no_peer_cert": only("true", "false"),
    "heartbeat": setting("amqp.heartbeat"),
    "channel_max": setting("amqp.channel_max"),
    "frame_max": setting("amqp.frame_max"),
    "connection_max": setting("limits.connections_max"),
    "max_message_size": setting("limits.message_bytes_max"),
    "vm_memory_high_watermark.relative": watermark,
    "vm_memory_high_watermark.absolute": watermark,
    "disk_free_limit.absolute": setting("limits.disk_free_bytes_min", lambda value: str(octets(value))),
    "load_definitions": setting("definitions.file"),
    "management.load_definitions": setting("definitions.file"),
    "management.tcp.port": place("MANAGEMENT", 15672),
    "management.tcp.ip": place("MANAGEMENT", 15672),
    "management.listener.port": place("MANAGEMENT", 15672),
    "management.listener.ip": place("MANAGEMENT", 15672),
    "management.listener.ssl": only("false"),
    "prometheus.tcp.port": place("METRICS", 15692),
    "prometheus.tcp.ip": place("METRICS", 15692),
    "collect_statistics_interval": SECONDS,
    "log.console": only("true"),
    "log.console.level": LEVEL,
    "log.default.level": LEVEL,
    "log.console.formatter": setting("log.format", one_of(json="json", plaintext="text")),
    "log.file": only("false"),
    "deprecated_features.permit.": only("true"),
    "anonymous_login_user": only("none"),
}
# Those that are something else here.
INSTEAD = {"consumer_timeout": "use a policy with consumer-timeout", "management.ssl.": "use management.listen_tls"}
# What may stand there, and is nothing that this broker could do otherwise.
MEANINGLESS_KEYS = (
    "cluster_",
    "mirroring_",
    "management_agent.",
    "queue_master_locator",
    "ssl_options.depth",
    "net_tick",
)

# Variables that are keys of rabbitmq.conf by another name.
AS_KEYS = {
    "DEFAULT_USER": "default_user",
    "DEFAULT_PASS": "default_pass",
    "DEFAULT_VHOST": "default_vhost",
    "SSL_CACERTFILE": "ssl_options.cacertfile",
    "SSL_CERTFILE": "ssl_options.certfile",
    "SSL_KEYFILE": "ssl_options.keyfile",
    "SSL_VERIFY": "ssl_options.verify",
    "SSL_FAIL_IF_NO_PEER_CERT": "ssl_options.fail_if_no_peer_cert",
    "SSL_DEPTH": "ssl_options.depth",
    "LOG": "log.console.level",
}
# Variables that are looked at apart.
LOOKED_AT = {
    *("DEFAULT_USER_FILE", "DEFAULT_PASS_FILE", "NODE_PORT", "NODE_IP_ADDRESS", "CONFIG_FILE", "CONFIG_FILES", "LOGS"),
    *("ENABLED_PLUGINS", "ENABLED_PLUGINS_FILE"),
}
# Of Erlang, of a cluster, and of how RabbitMQ lies on the disk.
MEANINGLESS = {
    *(
        "ERLANG_COOKIE",
        "NODENAME",
        "USE_LONGNAME",
        "DIST_PORT",
        "HOME",
        "DATA_DIR",
        "VERSION",
        "PGP_KEY_ID",
        "PID_FILE",
    ),
    *("LOG_BASE", "FEATURE_FLAGS", "FEATURE_FLAGS_FILE", "MOTD_FILE", "SERVER_ERL_ARGS", "CTL_ERL_ARGS"),
    *("SERVER_ADDITIONAL_ERL_ARGS", "CTL_DIST_PORT_MIN", "CTL_DIST_PORT_MAX", "IO_THREAD_POOL_SIZE", "LOG_FF_REGISTRY"),
    *("STREAM_DIR", "BASE", "ALLOW_INPUT", "DBG", "PRODUCT_NAME", "PRODUCT_VERSION", "UPGRADE_LOG"),
    *("KEEP_PID_FILE_ON_EXIT", "PLUGINS_EXPAND_DIR", "DISTRIBUTION_BUFFER_SIZE", "MAX_NUMBER_OF_PROCESSES"),
}
REFUSED = {
    "ADVANCED_CONFIG_FILE": "Erlang's terms cannot be read: use FlowMQ's settings",
    "MNESIA_BASE": "data is kept at /var/lib/flowmq, or where FLOWMQ_STORAGE__DATA_DIR says",
    "MNESIA_DIR": "data is kept at /var/lib/flowmq, or where FLOWMQ_STORAGE__DATA_DIR says",
    "QUORUM_DIR": "data is kept at /var/lib/flowmq, or where FLOWMQ_STORAGE__DATA_DIR says",
    "PLUGINS_DIR": "there are no plugins",
    "CONF_ENV_FILE": "give the variables to the container",
    "SERVER_START_ARGS": "use FlowMQ's settings",
    "VM_MEMORY_HIGH_WATERMARK": "use FLOWMQ_LIMITS__MEMORY_BYTES_MAX, or vm_memory_high_watermark in rabbitmq.conf",
    **dict.fromkeys(
        ("MANAGEMENT_SSL_CERTFILE", "MANAGEMENT_SSL_KEYFILE", "MANAGEMENT_SSL_CACERTFILE", "MANAGEMENT_SSL_VERIFY"),
        "use FLOWMQ_MANAGEMENT__LISTEN_TLS, which has the certificate of [tls]",
    ),
}


class Translation:
    def __init__(self, environ: Mapping[str, str], etc: Path = ETC) -> None:
        self.given = {name.removeprefix(PREFIX): value for name, value in environ.items() if is_given(name, value)}
        self.etc = etc
        self.settings: Settings = {}
        self.notes: list[str] = []
        self.warnings: list[str] = []
        self.wrong: list[str] = []

    def translate(self) -> None:
        self._variables()
        keys = dict(self._files())
        keys |= {key: value for name, key in AS_KEYS.items() if (value := self.given.get(name))}
        if file := self.given.get("DEFAULT_USER_FILE"):
            keys["default_user"] = self._line_of(Path(file))
        for key, value in keys.items():
            self._key(key, value)
        self._rest_of_variables(keys)
        self._plugins()

    def _variables(self) -> None:
        for name in self.given:
            if name in REFUSED:
                self.wrong.append(f"{PREFIX}{name}: {REFUSED[name]}")
            elif name in MEANINGLESS or (name == "LOGS" and self.given[name] != "-"):
                what = "the log goes to standard error" if name == "LOGS" else "it has no meaning here"
                self.warnings.append(f"{PREFIX}{name}: {what}")
            elif name not in AS_KEYS and name not in LOOKED_AT:
                self.warnings.append(f"{PREFIX}{name}: neither RabbitMQ nor FlowMQ knows this variable")

    def _rest_of_variables(self, keys: Mapping[str, str]) -> None:
        given, settings = self.given, self.settings
        if file := given.get("DEFAULT_PASS_FILE"):
            settings["FLOWMQ_FIRST_START__PASSWORD_FILE"] = file
        # Who names guest or its password wants to use it, and in a container from outside.
        if {"default_user", "default_pass"} & keys.keys() or "DEFAULT_PASS_FILE" in given:
            settings.setdefault("FLOWMQ_LIMITS__DEFAULT_USER_LOOPBACK_ONLY", "false")
            if "default_pass" not in keys and "DEFAULT_PASS_FILE" not in given:
                settings["FLOWMQ_FIRST_START__PASSWORD"] = "guest"
                self.warnings.append("a user without a password is given: it is 'guest', which everybody knows")
        if "NODE_PORT" in given or "NODE_IP_ADDRESS" in given:
            host = given.get("NODE_IP_ADDRESS", "0.0.0.0")
            listen = f"[{host}]" if ":" in host else host
            settings["FLOWMQ_AMQP__LISTEN"] = f"{listen}:{given.get('NODE_PORT', '5672')}"
        if "FLOWMQ_TLS__CERTIFICATE" in settings:
            settings.setdefault("FLOWMQ_TLS__LISTEN", "0.0.0.0:5671")
        # testcontainers for Go waits for these words, and for the end of the start besides.
        self.notes += [
            f"{listen} is what RabbitMQ tells of as: started TLS (SSL) listener on [::]:{listen.rpartition(':')[2]}"
            for listen in filter(None, settings.get("FLOWMQ_TLS__LISTEN", "").split(","))
        ]
        if keys.get("ssl_options.verify") == "verify_peer":
            must = keys.get("ssl_options.fail_if_no_peer_cert") == "true"
            settings["FLOWMQ_TLS__CLIENT_CERTIFICATES"] = "required" if must else "optional"

    # ---------------------------------------------------------------------------------------------- files

    def _files(self) -> Iterator[tuple[str, str]]:
        for file in self._config_files():
            if file.suffix == ".config":
                self.wrong.append(f"{file}: Erlang's terms cannot be read: use rabbitmq.conf or FlowMQ's settings")
                continue
            for number, line in enumerate(self._text_of(file).splitlines(), 1):
                line = line.partition("#")[0].strip()
                key, equals, value = (part.strip() for part in line.partition("="))
                if equals:
                    yield key, value[1:-1] if re.fullmatch("'.*'", value) else value
                elif line:
                    self.wrong.append(f"{file}, line {number}: not KEY = VALUE")

    def _config_files(self) -> list[Path]:
        named = Path(self.given.get("CONFIG_FILE", self.etc / "rabbitmq"))
        found = [file for suffix in ("", ".conf", ".config") if (file := Path(f"{named}{suffix}")).is_file()]
        if "CONFIG_FILE" in self.given and not found:
            self.warnings.append(f"RABBITMQ_CONFIG_FILE: {named}: there is no such file")
        for file in (self.etc / "advanced.config", self.etc / "rabbitmq-env.conf"):
            if file.is_file() and re.search(r"^\s*[^#%\s]", self._text_of(file), re.MULTILINE):
                self.wrong.append(f"{file}: this is not read: use rabbitmq.conf or FlowMQ's settings")
        more = Path(self.given.get("CONFIG_FILES", self.etc / "conf.d"))
        return found[:1] + sorted(more.glob("*.conf"))

    def _key(self, key: str, value: str) -> None:
        if key.startswith(MEANINGLESS_KEYS):
            self.warnings.append(f"{key}: it has no meaning here")
            return
        stem, _, rest = key.rpartition(".")
        write = KEYS.get(key) or KEYS.get(f"{stem}.")
        if write is None:
            reason = INSTEAD.get(key) or INSTEAD.get(f"{stem}.") or "FlowMQ cannot do this as RabbitMQ does"
            self.wrong.append(f"{key}: {reason}")
            return
        try:
            write(self.settings, rest if stem else "", value)
        except ValueError as error:
            self.wrong.append(f"{key} {error}")

    def _plugins(self) -> None:
        file = Path(self.given.get("ENABLED_PLUGINS_FILE", self.etc / "enabled_plugins"))
        wanted = self.given.get("ENABLED_PLUGINS", "") or (self._text_of(file) if file.is_file() else "")
        for name in re.findall(r"\w+", re.sub(r"%.*", "", wanted)):
            if name not in PLUGINS:
                self.wrong.append(f"the plugin {name} is not part of FlowMQ")

    def _line_of(self, file: Path) -> str:
        return self._text_of(file).rstrip("\r\n")

    def _text_of(self, file: Path) -> str:
        try:
            return file.read_text("utf-8")
        except (OSError, ValueError) as error:
            self.wrong.append(f"{file}: {getattr(error, 'strerror', None) or 'it is not UTF-8'}")
            return ""


def is_given(name: str, value: str) -> bool:
    """Empty ones are as if they were not set, in RabbitMQ too."""
    return name.startswith(PREFIX) and value != "" and not OF_A_SERVICE.fullmatch(name) and "tcp://" not in value


def is_mounted(directory: Path) -> bool:
    mounts = Path("/proc/self/mountinfo").read_text("utf-8", "replace").splitlines()
    return any(line.split()[4] == str(directory) for line in mounts)


def main(arguments: list[str]) -> None:
    if arguments[:1] == ["rabbitmq-server"]:
        arguments = ["serve"]
    environ = dict(os.environ)
    if arguments[:1] and arguments[0] in TRANSLATED:
        translation = Translation(environ)
        translation.translate()
        if is_mounted(DATA) and not environ.get("FLOWMQ_STORAGE__DATA_DIR", "").startswith(str(DATA)):
            translation.wrong.append(f"{DATA} is mounted: FlowMQ keeps its data in /var/lib/flowmq, mount that")
        sys.stderr.writelines(f"flowmq: warning: {line}\n" for line in translation.warnings)
        sys.stderr.writelines(f"flowmq: {line}\n" for line in translation.wrong or translation.notes)
        if translation.wrong:
            sys.exit(EXIT_USAGE)
        environ = {**translation.settings, **environ}
    sys.stderr.flush()
    os.execvpe("flowmq", ["flowmq", *arguments], environ)


if __name__ == "__main__":
    main(sys.argv[1:])
