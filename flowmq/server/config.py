"""The settings: what they are called, what they may be, and where they come from.

A setting is `section.key`. The later source wins: built-in default, TOML file, environment (FLOWMQ_SECTION__KEY),
command line. Whatever is wrong is one SettingsError of one line: where, what, and perhaps what was meant. Nothing here
reads the clock, opens a socket, or acts on a setting.
"""

import difflib
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin

import msgspec
from msgspec import Meta, Struct, field

from flowmq.broker.policies import Policy
from flowmq.server.listener_settings import (
    PASSWORD_MECHANISMS,
    Mechanism,
    TLSHost,
    TLSSettings,
    WebSocketSettings,
    check_hosts,
    contradiction,
)
from flowmq.server.oauth_settings import OAuthSettings, check_url, contradiction_of_oauth
from flowmq.server.proxy_protocol import network
from flowmq.server.user_settings import FIRST_START_CHECKS, FirstStartSettings, User, check_users

ENVIRONMENT_PREFIX = "FLOWMQ_"

Short = Annotated[int, Meta(ge=1, le=65535)]
Count = Annotated[int, Meta(ge=0)]
Text = Annotated[str, Meta(min_length=1)]


class SettingsError(Exception):
    """The settings cannot be used; the message is one line for the operator."""


class AMQPSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    listen: list[str] = field(default_factory=lambda: ["0.0.0.0:5672"])
    channel_max: Short = 2047
    frame_max: Annotated[int, Meta(ge=4096, le=2147483647)] = 131072
    heartbeat: Annotated[int, Meta(ge=0, le=65535)] = 60
    handshake_timeout: Annotated[float, Meta(gt=0, le=86400)] = 10.0
    backlog: Annotated[int, Meta(ge=1, le=2147483647)] = 1024
    busy_poll_us: Annotated[int, Meta(ge=-1, le=10000)] = -1
    proxy_protocol_from: list[str] = field(default_factory=list)
    mechanisms: list[Mechanism] = field(default_factory=PASSWORD_MECHANISMS.copy)
    anonymous_user: str = ""


class StorageSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    data_dir: Text = "./data"
    segment_bytes: Annotated[int, Meta(ge=65536, le=1073741824)] = 67108864


class LimitsSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    message_bytes_max: Annotated[int, Meta(ge=1, le=536870912)] = 134217728
    memory_bytes_max: Count = 0
    disk_free_bytes_min: Count = 209715200
    disk_free_share_min: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    on_alarm: Literal["block", "nack"] = "block"
    held_bytes_max: Count = 1048576
    outgoing_bytes_max: Annotated[int, Meta(ge=4096)] = 1048576
    header_bytes_max: Annotated[int, Meta(ge=64)] = 262144
    unauthenticated_bytes_max: Annotated[int, Meta(ge=4096)] = 65536
    handshakes_max: Count = 10000
    accepts_per_second_max: Count = 0
    connections_max: Count = 0
    vhost_connections_max: Count = 0
    user_connections_max: Count = 0
    user_channels_max: Count = 0
    vhost_queues_max: Count = 0
    consumers_per_channel_max: Count = 0
    default_user_loopback_only: bool = True


class LogSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"


class ManagementSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    listen: list[str] = field(default_factory=lambda: ["0.0.0.0:15672"])
    listen_tls: list[str] = field(default_factory=list)
    sample_seconds: Annotated[float, Meta(gt=0, le=3600)] = 5.0


class MetricsSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    listen: list[str] = field(default_factory=lambda: ["0.0.0.0:15692"])


class ControlSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    socket: str = ""
    group: str = ""


class DefinitionsSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    file: str = ""
    best_effort: bool = False


class ShovelSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    hosts: list[str] = field(default_factory=lambda: ["*"])


class PolicySettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="kebab"):
    name: Text
    pattern: str
    definition: dict[str, Any]
    vhost: Text = "/"
    apply_to: str = "all"
    priority: int = 0

    def policy(self, *, operator: bool) -> Policy:
        return Policy(**msgspec.structs.asdict(self), operator=operator)


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    amqp: AMQPSettings = field(default_factory=AMQPSettings)
    tls: TLSSettings = field(default_factory=TLSSettings)
    websocket: WebSocketSettings = field(default_factory=WebSocketSettings)
    oauth: OAuthSettings = field(default_factory=OAuthSettings)
    storage: StorageSettings = field(default_factory=StorageSettings)
    limits: LimitsSettings = field(default_factory=LimitsSettings)
    log: LogSettings = field(default_factory=LogSettings)
    control: ControlSettings = field(default_factory=ControlSettings)
    definitions: DefinitionsSettings = field(default_factory=DefinitionsSettings)
    management: ManagementSettings = field(default_factory=ManagementSettings)
    metrics: MetricsSettings = field(default_factory=MetricsSettings)
    shovels: ShovelSettings = field(default_factory=ShovelSettings)
    first_start: FirstStartSettings = field(default_factory=FirstStartSettings)
    users: list[User] = field(default_factory=list)
    tls_hosts: list[TLSHost] = field(default_factory=list)
    policies: list[PolicySettings] = field(default_factory=list)
    operator_policies: list[PolicySettings] = field(default_factory=list)

    def all_policies(self) -> list[Policy]:
        """Of both kinds. All have been checked."""
        kinds = ((self.policies, False), (self.operator_policies, True))
        return [given.policy(operator=operator) for policies, operator in kinds for given in policies]


class Assignment(NamedTuple):
    """One value as its source gave it."""

    value: object
    where: str
    is_text: bool = False


Assignments = dict[str, Assignment]


def load_settings(config_path: str | None, environ: Mapping[str, str], overrides: Mapping[str, object]) -> Settings:
    """The effective settings; `overrides` are the command line's, by `section.key`."""
    assignments: Assignments = {}
    if config_path is not None:
        assignments.update(from_table(config_path, read_toml(config_path)))
    assignments.update(from_environment(environ))
    assignments.update((name, Assignment(value, f"command line: {name}")) for name, value in overrides.items())
    return build(assignments)


def parse_address(text: str) -> tuple[str, int]:
    """HOST:PORT or [IPV6]:PORT; port 0 lets the operating system choose one."""
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if bracketed:
        host = host[1:-1]
    if not colon or not host or (":" in host) != bracketed or not (port.isascii() and port.isdigit()):
        raise ValueError(f"{text!r} is not HOST:PORT (or [IPV6]:PORT)")
    if int(port) > 65535:
        raise ValueError(f"{text!r}: a port is at most 65535")
    return host, int(port)


# ---------------------------------------------------------------------------------------------------- the tables


def sections() -> dict[str, type[Struct]]:
    found = ((entry.name, entry.type) for entry in msgspec.structs.fields(Settings))
    return {name: kind for name, kind in found if isinstance(kind, type) and issubclass(kind, Struct)}


# Sections of which there may be any number: they are written [[name]], in the file only.
LISTS: dict[str, type[Struct]] = {
    "users": User,
    "tls_hosts": TLSHost,
    "policies": PolicySettings,
    "operator_policies": PolicySettings,
}


def keys_of(section: type[Struct]) -> dict[str, Any]:
    return {entry.encode_name: entry.type for entry in msgspec.structs.fields(section)}


def environment_names() -> dict[str, str]:
    """FLOWMQ_AMQP__LISTEN: amqp.listen, and so on."""
    names = (f"{section}.{key}" for section, kind in sections().items() for key in keys_of(kind))
    return {ENVIRONMENT_PREFIX + name.replace(".", "__").upper(): name for name in names}


def check_networks(networks: list[str]) -> None:
    for text in networks:
        network(text)


def check_addresses(addresses: list[str]) -> None:
    for address in addresses:
        parse_address(address)


def check_policies(policies: list[PolicySettings], *, operator: bool) -> None:
    for given in policies:
        given.policy(operator=operator)
    names = [(given.vhost, given.name) for given in policies]
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise ValueError(f"{repeated[1]!r} is given twice for vhost {repeated[0]!r}")


CHECKS: dict[str, Callable[[Any], object]] = {
    "amqp.listen": check_addresses,
    "tls.listen": check_addresses,
    "management.listen": check_addresses,
    "management.listen_tls": check_addresses,
    "metrics.listen": check_addresses,
    "oauth.jwks_url": check_url,
    "websocket.listen": check_addresses,
    "websocket.listen_tls": check_addresses,
    **{f"{section}.proxy_protocol_from": check_networks for section in ("amqp", "tls", "websocket")},
    **FIRST_START_CHECKS,
    "users": check_users,
    "tls_hosts": check_hosts,
    "policies": partial(check_policies, operator=False),
    "operator_policies": partial(check_policies, operator=True),
}


# ---------------------------------------------------------------------------------------------------- the sources


def read_toml(path: str) -> dict[str, object]:
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise SettingsError(f"{path}: not TOML: {error}") from error


def from_table(path: str, table: Mapping[str, object]) -> Iterator[tuple[str, Assignment]]:
    known = sections()
    for section, content in table.items():
        check_known(path, "section", section, [*known, *LISTS])
        if section in LISTS:
            check_keys_of_list(path, section, content)
            yield section, Assignment(content, f"{path}: {section}")
        elif not isinstance(content, dict):
            raise SettingsError(f"{path}: {section} is a section: write [{section}] and its keys below")
        else:
            for key, value in content.items():
                check_known(f"{path}: [{section}]", "key", key, keys_of(known[section]))
                yield f"{section}.{key}", Assignment(value, f"{path}: [{section}] {key}")


def from_environment(environ: Mapping[str, str]) -> Iterator[tuple[str, Assignment]]:
    """Only variables of our form: others of the prefix are build switches, or set by a container platform."""
    known = environment_names()
    misspelt = {name.replace("__", "_"): name for name in known}
    for variable, value in environ.items():
        if variable in misspelt:
            raise SettingsError(f"environment: {variable}: two underscores part section and key: {misspelt[variable]}")
        if not variable.startswith(ENVIRONMENT_PREFIX) or "__" not in variable:
            continue
        for section in LISTS:
            if variable.startswith(f"{ENVIRONMENT_PREFIX}{section.upper()}__"):
                raise SettingsError(f"environment: {variable}: {section} can be set in the configuration file only")
        check_known("environment", "variable", variable, known)
        yield known[variable], Assignment(value, f"environment: {variable}", is_text=True)


def check_keys_of_list(path: str, section: str, content: object) -> None:
    tables = content if isinstance(content, list) else []
    for table in tables:
        for key in table if isinstance(table, dict) else ():
            check_known(f"{path}: [[{section}]]", "key", key, keys_of(LISTS[section]))


def check_known(where: str, what: str, name: str, known: Iterable[str]) -> None:
    choices = list(known)
    if name not in choices:
        raise SettingsError(f"{where}: unknown {what} {printable(name)}{did_you_mean(name, choices)}")


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    by_folded = {choice.casefold(): choice for choice in choices}
    close = difflib.get_close_matches(name.casefold(), by_folded, n=1)
    return f"; did you mean {by_folded[close[0]]}?" if close else ""


def printable(text: str) -> str:
    return text if text.isprintable() and text else repr(text)


# ---------------------------------------------------------------------------------------------------- the values


def build(assignments: Assignments) -> Settings:
    values: dict[str, Any] = {
        section: kind(**converted(assignments, f"{section}.", keys_of(kind))) for section, kind in sections().items()
    }
    lists = converted(assignments, "", {name: list[kind] for name, kind in LISTS.items()})  # type: ignore[valid-type]
    settings = Settings(**values, **lists)
    if wrong := contradiction(settings) or contradiction_of_oauth(settings.oauth) or settings.first_start.wrong():
        raise SettingsError(wrong)
    return settings


def converted(assignments: Assignments, prefix: str, types: Mapping[str, Any]) -> dict[str, Any]:
    names = {key: prefix + key for key in types if prefix + key in assignments}
    return {key: convert(name, assignments[name], types[key]) for key, name in names.items()}


def convert(name: str, assignment: Assignment, kind: Any) -> object:
    value = assignment.value
    if assignment.is_text and get_origin(kind) is list:
        value = [part.strip() for part in str(value).split(",") if part.strip()]
    try:
        msgspec.json.encode(value)  # environment and command line may hold octets that are no UTF-8
        result = msgspec.convert(value, kind, strict=not assignment.is_text)
        if name in CHECKS:
            CHECKS[name](result)
    except ValueError as error:
        raise SettingsError(f"{assignment.where}{complaint(assignment.value, kind, error)}") from error
    return result


def complaint(value: object, kind: Any, error: ValueError) -> str:
    shown = f" = {value!r}" if isinstance(value, str | int | float) else ""
    if get_origin(kind) is Literal:
        choices = get_args(kind)
        return f"{shown}: must be one of {', '.join(choices)}{did_you_mean(str(value), choices)}"
    return f"{shown}: {str(error).replace('`', '')}"


def differences(before: Settings, after: Settings) -> list[str]:
    """The names of the settings, or of the whole lists, that are not the same."""
    found = [
        f"{section}.{key}"
        for section, kind in sections().items()
        for key in keys_of(kind)
        if getattr(getattr(before, section), key) != getattr(getattr(after, section), key)
    ]
    return found + [name for name in LISTS if getattr(before, name) != getattr(after, name)]


# ---------------------------------------------------------------------------------------------------- the printing


def to_toml(settings: Settings) -> str:
    """The settings as a configuration file, without the passwords."""
    settings = msgspec.structs.replace(settings, first_start=settings.first_start.masked())
    blocks = [toml_block(f"[{section}]", getattr(settings, section)) for section in sections()]
    blocks += [toml_block("[[users]]", user.masked()) for user in settings.users]
    for name in ("tls_hosts", "policies", "operator_policies"):
        blocks += [toml_block(f"[[{name}]]", policy) for policy in getattr(settings, name)]
    return "\n".join(blocks)


def toml_block(title: str, section: Struct) -> str:
    values = zip(keys_of(type(section)), msgspec.structs.astuple(section), strict=True)
    lines = (f"{key} = {toml_value(value)}\n" for key, value in values if value is not None)
    return f"{title}\n{''.join(lines)}"


def toml_value(value: object) -> str:
    if isinstance(value, Struct):
        return toml_value(msgspec.structs.asdict(value))
    if isinstance(value, list):
        return f"[{', '.join(toml_value(item) for item in value)}]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{toml_value(key)} = {toml_value(item)}" for key, item in value.items()) + " }"
    # JSON's scalars are TOML's, but for one control character that JSON leaves as it is.
    return msgspec.json.encode(value).decode().replace("\x7f", "\\u007f")
