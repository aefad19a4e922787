"""Settings: defaults, the order of the sources, and one clear line for whatever is wrong."""

import tomllib
from pathlib import Path

import msgspec
import pytest

from flowmq.server.config import Settings, SettingsError, User, differences, load_settings, parse_address, to_toml


@pytest.fixture
def write(tmp_path: Path):
    def write_file(text: str) -> str:
        path = tmp_path / "flowmq.toml"
        path.write_text(text)
        return str(path)

    return write_file


def test_defaults() -> None:
    settings = load_settings(None, {}, {})
    assert settings == Settings()
    assert settings.amqp.listen == ["0.0.0.0:5672"]
    assert (settings.amqp.channel_max, settings.amqp.frame_max, settings.amqp.heartbeat) == (2047, 131072, 60)
    assert settings.storage.data_dir == "./data"
    assert settings.limits.message_bytes_max == 128 * 1024 * 1024
    assert settings.users == []


def test_a_file_sets_what_it_names_and_nothing_else(write) -> None:
    path = write('[amqp]\nheartbeat = 5\n[log]\nformat = "json"\n')
    settings = load_settings(path, {}, {})
    assert (settings.amqp.heartbeat, settings.amqp.channel_max, settings.log.format) == (5, 2047, "json")


def test_later_sources_win(write) -> None:
    path = write('[amqp]\nheartbeat = 1\nbacklog = 1\n[log]\nlevel = "error"\n[storage]\ndata_dir = "file"\n')
    environ = {"FLOWMQ_AMQP__BACKLOG": "2", "FLOWMQ_LOG__LEVEL": "debug", "FLOWMQ_STORAGE__DATA_DIR": "environment"}
    settings = load_settings(path, environ, {"storage.data_dir": "flag"})
    found = (settings.amqp.heartbeat, settings.amqp.backlog, settings.log.level, settings.storage.data_dir)
    assert found == (1, 2, "debug", "flag")


def test_a_wrong_value_that_is_overridden_does_no_harm(write) -> None:
    path = write("[amqp]\nheartbeat = 99999\n")
    assert load_settings(path, {"FLOWMQ_AMQP__HEARTBEAT": "7"}, {}).amqp.heartbeat == 7


@pytest.mark.parametrize(
    ("variable", "text", "found"),
    [
        ("FLOWMQ_AMQP__LISTEN", "127.0.0.1:0, [::1]:5672", ["127.0.0.1:0", "[::1]:5672"]),
        ("FLOWMQ_AMQP__FRAME_MAX", "4096", 4096),
        ("FLOWMQ_AMQP__HANDSHAKE_TIMEOUT", "2", 2.0),
        ("FLOWMQ_LIMITS__DEFAULT_USER_LOOPBACK_ONLY", "false", False),
        ("FLOWMQ_STORAGE__DATA_DIR", "12", "12"),
    ],
)
def test_environment_text_becomes_the_settings_type(variable: str, text: str, found: object) -> None:
    section, key = variable.removeprefix("FLOWMQ_").lower().split("__")
    value = getattr(getattr(load_settings(None, {variable: text}, {}), section), key)
    assert (value, type(value)) == (found, type(found))


def test_octets_that_are_no_utf8_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"environment: FLOWMQ_STORAGE__DATA_DIR = .*surrogates not allowed"):
        load_settings(None, {"FLOWMQ_STORAGE__DATA_DIR": "/data/\udcff"}, {})


def test_every_setting_has_its_variable() -> None:
    settings = Settings()
    for section in ("amqp", "storage", "limits", "log"):
        for key, value in msgspec.structs.asdict(getattr(settings, section)).items():
            text = ",".join(value) if isinstance(value, list) else str(value)
            assert load_settings(None, {f"FLOWMQ_{section}__{key}".upper(): text}, {}) == settings


def test_other_variables_of_the_prefix_are_left_alone() -> None:
    environ = {"FLOWMQ_BUILD": "debug", "FLOWMQ_PORT_5672_TCP_ADDR": "10.0.0.1", "FLOWMQ_SERVICE_HOST": "10.0.0.1"}
    assert load_settings(None, environ, {}) == Settings()


def test_users_of_the_file(write) -> None:
    path = write(
        '[[users]]\nname = "ann"\npassword = "a"\ntags = ["monitoring"]\n[[users]]\nname = "b"\npassword = ""\n'
    )
    users = load_settings(path, {}, {}).users
    assert users == [User(name="ann", password="a", tags=["monitoring"]), User(name="b", password="", tags=[])]


def policy(lines: str, section: str = "policies", pattern: str = "^p") -> str:
    return f'[[{section}]]\nname = "p"\npattern = "{pattern}"\n{lines}\n'


WRONG_FILES = [
    ("[amqp]\nframe_mx = 5\n", "[amqp]: unknown key frame_mx; did you mean frame_max?"),
    ("[amqp]\nFRAME_MAX = 5\n", "[amqp]: unknown key FRAME_MAX; did you mean frame_max?"),
    ("[ampq]\nframe_max = 5\n", "unknown section ampq; did you mean amqp?"),
    ("zzz = 5\n", "unknown section zzz"),
    ('["a\\nb"]\n', r"unknown section 'a\nb'"),
    ("amqp = 5\n", "amqp is a section: write [amqp] and its keys below"),
    ("[amqp]\nframe_max = 4095\n", "[amqp] frame_max = 4095: Expected int >= 4096"),
    ("[amqp]\nframe_max = 2147483648\n", "[amqp] frame_max = 2147483648: Expected int <= 2147483647"),
    ("[amqp]\nchannel_max = 0\n", "[amqp] channel_max = 0: Expected int >= 1"),
    ("[amqp]\nchannel_max = true\n", "[amqp] channel_max = True: Expected int, got bool"),
    ('[amqp]\nheartbeat = "5"\n', "[amqp] heartbeat = '5': Expected int, got str"),
    ("[amqp]\nheartbeat = 2026-01-01\n", "[amqp] heartbeat: Expected int, got date"),
    ("[amqp]\nhandshake_timeout = nan\n", "[amqp] handshake_timeout = nan: "),
    ("[amqp]\nhandshake_timeout = 0\n", "[amqp] handshake_timeout = 0: Expected float > 0.0"),
    ('[amqp]\nlisten = "127.0.0.1:5672"\n', "[amqp] listen = '127.0.0.1:5672': Expected array, got str"),
    ('[tls]\nlisten = ["localhost"]\n', "[tls] listen: 'localhost' is not HOST:PORT"),
    ('[tls]\nversion_min = "1.1"\n', "[tls] version_min = '1.1': must be one of 1.2, 1.3"),
    ('[oauth]\njwks_url = "http://keys.example.org/"\n', "[oauth] jwks_url = 'http://keys.example.org/': an https URL"),
    ('[oauth]\nalgorithms = ["HS256"]\n', "[oauth] algorithms: Invalid enum value 'HS256'"),
    ('[amqp]\nproxy_protocol_from = ["10.0.0.1/8"]\n', "[amqp] proxy_protocol_from: '10.0.0.1/8' is not a network"),
    ('[amqp]\nmechanisms = ["CRAM-MD5"]\n', "[amqp] mechanisms: Invalid enum value 'CRAM-MD5'"),
    ('[[tls_hosts]]\nname = "a"\n', "tls_hosts: Object missing required field certificate - at $[0]"),
    (
        '[[tls_hosts]]\nname = "a"\ncertificate = "a.pem"\n[[tls_hosts]]\nname = "A"\ncertificate = "b.pem"\n',
        "tls_hosts: 'a' is given twice",
    ),
    ('[amqp]\nlisten = ["5672"]\n', "[amqp] listen: '5672' is not HOST:PORT"),
    ('[log]\nlevel = "inf"\n', "[log] level = 'inf': must be one of debug, info, warning, error; did you mean info?"),
    ("[log]\nlevel = 5\n", "[log] level = 5: must be one of debug, info, warning, error"),
    ('[storage]\ndata_dir = ""\n', "[storage] data_dir = '': Expected str of length >= 1"),
    ("users = 5\n", "users = 5: Expected array, got int"),
    ("users = [5]\n", "users: Expected object, got int - at $[0]"),
    ('[first_start]\nuser = ""\n', "[first_start] user = '': the name of a user must not be empty"),
    ('[first_start]\ntags = ["a b"]\n', "[first_start] tags: 'a b' is no tag: a word without spaces and commas"),
    ('[[users]]\nname = "a"\n', "users: user 'a' needs either a password or a password_hash"),
    ('[[users]]\nname = "a"\npassword = "b"\npassword_hash = "c"\n', "users: user 'a' needs either a password or a"),
    (
        '[[users]]\nname = "a"\npassword_hash = "c"\n',
        "users: the password hash is none of rabbit_password_hashing_sha256",
    ),
    (
        '[[users]]\nname = "a"\npassword = "b"\ntags = ["b c"]\n',
        "users: 'b c' is no tag: a word without spaces and commas",
    ),
    (
        '[[users]]\nname = "a"\npassword = "b"\npermissions = [{ read = "(" }]\n',
        "users: pattern '(': missing ): (",
    ),
    (
        '[[users]]\nname = "a"\npassword = "b"\npermissions = [{}, { vhost = "/" }]\n',
        "users: user 'a' has two permissions for one vhost",
    ),
    ('[[users]]\nname = "a"\npasword = "b"\n', "[[users]]: unknown key pasword; did you mean password?"),
    ('[[users]]\nname = "a"\npassword = "b"\n' * 2, "users: user 'a' is given twice"),
    ("policies = 5\n", "policies = 5: Expected array, got int"),
    ('[[policies]]\nname = "p"\n', "policies: Object missing required field pattern - at $[0]"),
    ("[[policies]]\napply_to = 'all'\n", "[[policies]]: unknown key apply_to; did you mean apply-to?"),
    (
        policy("definition = { message-tl = 1 }"),
        "policies: policy 'p': unknown key 'message-tl'; did you mean message-ttl?",
    ),
    (
        policy("definition = { expires = 0 }"),
        "policies: policy 'p': expires = 0: must be an integer from 1 to 315360000000",
    ),
    (
        policy("definition = { max-length = true }"),
        "policies: policy 'p': max-length = True: must be an integer of at least 0",
    ),
    (policy("definition = {}"), "policies: policy 'p': the definition is empty"),
    (policy("definition = 1"), "policies: Expected object, got int - at $[0].definition"),
    (
        policy("definition = { expires = 1 }", pattern="["),
        "policies: policy 'p': pattern '[': missing ]",
    ),
    (
        policy("definition = { expires = 1 }\napply-to = 'queue'"),
        "policies: policy 'p': apply-to = 'queue': must be one of all,",
    ),
    (policy("definition = { expires = 1 }\npriority = 1.5"), "policies: Expected int, got float - at $[0].priority"),
    (policy("definition = { expires = 1 }") * 2, "policies: 'p' is given twice for vhost '/'"),
    (
        policy("definition = { dead-letter-exchange = 'x' }", "operator_policies"),
        "operator_policies: operator policy 'p': dead-letter-exchange cannot be set by an operator policy",
    ),
    ("[amqp\n", "not TOML: "),
]


@pytest.mark.parametrize(("text", "complaint"), WRONG_FILES)
def test_what_is_wrong_with_a_file_is_said_in_one_line(write, text: str, complaint: str) -> None:
    path = write(text)
    message = error_of(path, {}, {})
    assert message.startswith(f"{path}: {complaint}")


CONTRADICTIONS = [
    (
        '[oauth]\naudience = "a"\njwks_file = "keys.json"\njwks_url = "https://a.example/"\n',
        "oauth.jwks_file and oauth.jwks_url are both given: one of them is needed",
    ),
    ('[oauth]\njwks_file = "keys.json"\n', "oauth.audience is missing: it says which tokens are meant for this broker"),
    (
        '[oauth]\naudience = "a"\n',
        "oauth.audience is given, and neither oauth.jwks_file nor oauth.jwks_url says who signs the tokens",
    ),
    (
        "[amqp]\nlisten = []\n",
        "amqp.listen is empty, and so are tls.listen and those of websocket: at least one HOST:PORT is needed",
    ),
    ('[tls]\nlisten = ["localhost:5671"]\n', "tls.listen is given, and no tls.certificate"),
    (
        '[tls]\nclient_certificates = "required"\n',
        "tls.client_certificates is 'required', and there is no tls.client_ca to check them by",
    ),
    ("[amqp]\nmechanisms = []\n", "amqp.mechanisms is empty: nobody can log in"),
    (
        '[amqp]\nmechanisms = ["ANONYMOUS"]\n',
        "amqp.mechanisms has ANONYMOUS, and no amqp.anonymous_user says who that is",
    ),
    (
        '[amqp]\nmechanisms = ["EXTERNAL"]\n[tls]\nclient_certificates = "optional"\nclient_ca = "ca.pem"\n',
        "amqp.mechanisms has EXTERNAL, which needs TLS and tls.client_certificates",
    ),
    (
        '[tls]\nmechanisms = ["EXTERNAL"]\n',
        "tls.mechanisms has EXTERNAL, which needs TLS and tls.client_certificates",
    ),
    (
        '[first_start]\nuser = "a"\n',
        "first_start.user is 'a': a first_start.password or first_start.password_file is needed",
    ),
    (
        '[first_start]\npassword = "a"\npassword_file = "b"\n',
        "first_start.password and first_start.password_file are both given: one is enough",
    ),
]


@pytest.mark.parametrize(("text", "complaint"), CONTRADICTIONS)
def test_what_cannot_be_together_is_said_in_one_line(write, text: str, complaint: str) -> None:
    assert error_of(write(text), {}, {}) == complaint


WRONG_VARIABLES = [
    ("FLOWMQ_AMQP__FRAME_MX", "1", "unknown variable FLOWMQ_AMQP__FRAME_MX; did you mean FLOWMQ_AMQP__FRAME_MAX?"),
    ("FLOWMQ_AMQP_LISTEN", "1", "FLOWMQ_AMQP_LISTEN: two underscores part section and key: FLOWMQ_AMQP__LISTEN"),
    ("FLOWMQ_AMQP__FRAME_MAX", "many", "FLOWMQ_AMQP__FRAME_MAX = 'many': Expected int, got str"),
    ("FLOWMQ_AMQP__LISTEN", "localhost", "FLOWMQ_AMQP__LISTEN = 'localhost': 'localhost' is not HOST:PORT"),
    ("FLOWMQ_USERS__0", "ann", "FLOWMQ_USERS__0: users can be set in the configuration file only"),
    ("FLOWMQ_POLICIES__0", "p", "FLOWMQ_POLICIES__0: policies can be set in the configuration file only"),
]


@pytest.mark.parametrize(("variable", "text", "complaint"), WRONG_VARIABLES)
def test_what_is_wrong_with_a_variable_is_said_in_one_line(variable: str, text: str, complaint: str) -> None:
    assert error_of(None, {variable: text}, {}).startswith(f"environment: {complaint}")


def test_what_is_wrong_with_a_flag_is_said_in_one_line() -> None:
    assert error_of(None, {}, {"amqp.listen": ["nowhere"]}).startswith("command line: amqp.listen: 'nowhere' is not")


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    assert error_of(str(tmp_path / "none.toml"), {}, {}).endswith("none.toml: No such file or directory")
    assert error_of(str(tmp_path), {}, {}) == f"{tmp_path}: Is a directory"


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    path = tmp_path / "flowmq.toml"
    path.write_bytes(b"\xff\xfe")
    assert error_of(str(path), {}, {}).startswith(f"{path}: not TOML: ")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("0.0.0.0:5672", ("0.0.0.0", 5672)),
        ("localhost:0", ("localhost", 0)),
        ("[::1]:65535", ("::1", 65535)),
    ],
)
def test_addresses(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["", ":", "5672", ":5672", "a:", "a:b", "a:-1", "a:65536", "::1:5672", "[a]:1", "a:²"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not HOST:PORT|at most 65535"):
        parse_address(text)


def test_printed_settings_read_back_the_same_but_for_the_passwords(write) -> None:
    given = (
        '[storage]\ndata_dir = "a \\"b\\\\ \\u007f é"\n[[users]]\nname = "ann"\npassword = "hush"\ntags = ["x"]\n'
        "permissions = [{ vhost = 'a\\b', read = '^\"x\\.' }]\n"
    )
    settings = load_settings(write(given), {}, {"amqp.listen": ["[::1]:0", "a:1"]})
    printed = to_toml(settings)
    assert "hush" not in printed
    assert tomllib.loads(printed)["users"][0]["password"] == "********"
    assert load_settings(write(printed.replace("********", "hush")), {}, {}) == settings


def test_printed_policies_read_back_the_same(write) -> None:
    given = """
[[policies]]
name = "a \\"b\\" é"
pattern = '^jobs\\.(a|b)$'
apply-to = "queues"
priority = -3
[policies.definition]
message-ttl = 60000
dead-letter-exchange = ""
ha-params = ["one", "two"]

[[operator_policies]]
name = "bounds"
pattern = ""
vhost = "/"
definition = { max-length = 5, overflow = "reject-publish" }
"""
    settings = load_settings(write(given), {}, {})
    assert [(policy.where, policy.priority, policy.apply_to) for policy in settings.all_policies()] == [
        ("policy 'a \"b\" é' in vhost '/'", -3, "queues"),
        ("operator policy 'bounds' in vhost '/'", 0, "all"),
    ]
    assert settings.policies[0].pattern == r"^jobs\.(a|b)$"
    assert settings.policies[0].definition["ha-params"] == ["one", "two"]
    assert load_settings(write(to_toml(settings)), {}, {}) == settings


def test_differences_are_named() -> None:
    other = load_settings(None, {"FLOWMQ_AMQP__HEARTBEAT": "7", "FLOWMQ_LOG__LEVEL": "debug"}, {})
    ann = User(name="ann", password="")
    assert differences(Settings(), other) == ["amqp.heartbeat", "log.level"]
    assert differences(Settings(), msgspec.structs.replace(other, users=[ann])) == [
        "amqp.heartbeat",
        "log.level",
        "users",
    ]
    assert differences(other, other) == []


def test_a_users_password_is_not_in_its_representation() -> None:
    assert "hush" not in repr(Settings(users=[User(name="ann", password="hush")]))


def error_of(path: str | None, environ: dict[str, str], overrides: dict[str, object]) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(path, environ, overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message
