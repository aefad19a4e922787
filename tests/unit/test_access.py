"""Users, permissions and virtual hosts as the model keeps them, and what it tells of changes."""

import pytest

from flowmq.amqp.errors import AccessRefused
from flowmq.broker.broker import Broker
from flowmq.broker.passwords import NO_PASSWORD, PLAIN, Password, from_hash, hashed, plain, rabbitmq_hashed, verified
from flowmq.broker.permissions import ALL, Access, AccessError, AlreadyThere, Permission, TopicPermission
from flowmq.broker.users import User, Users

# Made by RabbitMQ 3.10 of "secret".
OF_RABBITMQ = "qvIjzVe+QAe8+Th0nl69Ypa1XHOP2RtkjrRzT4ECNsH5Ngy4"


@pytest.fixture
def users() -> Users:
    return Users([], default_user_loopback_only=True)


@pytest.mark.parametrize("make", [hashed, plain, rabbitmq_hashed])
@pytest.mark.parametrize("password", ["secret", "é中", "x" * 4096, "\udcff"])
def test_a_password_is_verified_by_what_is_kept_of_it(make, password: str) -> None:
    kept = make(password)
    assert verified(kept, password)
    assert not verified(kept, password + "x")
    assert not verified(kept, "")
    assert password not in repr(kept)
    assert kept.algorithm == PLAIN or password not in kept.value


def test_a_hash_made_by_rabbitmq() -> None:
    assert verified(from_hash(OF_RABBITMQ), "secret")
    assert not verified(from_hash(OF_RABBITMQ), "Secret")


def test_sha512() -> None:
    kept = rabbitmq_hashed("secret", "rabbit_password_hashing_sha512")
    assert verified(from_hash(kept.value, kept.algorithm), "secret")


def test_nobody_logs_in_without_a_password() -> None:
    assert from_hash("") == NO_PASSWORD
    assert not verified(NO_PASSWORD, "")


ARGON2 = "$argon2id$v=19$m={m},t={t},p={p}$c29tZXNhbHQ$" + "A" * 43


@pytest.mark.parametrize(
    ("value", "algorithm"),
    [
        ("x", ""),
        ("AAAA", "rabbit_password_hashing_sha256"),
        (OF_RABBITMQ, "rabbit_password_hashing_sha512"),
        (OF_RABBITMQ, "argon2id"),
        (OF_RABBITMQ, "rabbit_password_hashing_md5"),
        (ARGON2.format(m=262145, t=1, p=1), ""),
        (ARGON2.format(m=8, t=17, p=1), ""),
        (ARGON2.format(m=8, t=1, p=0), ""),
        (ARGON2.replace("argon2id", "argon2i").format(m=8, t=1, p=1), ""),
    ],
)
def test_a_hash_that_cannot_be_checked_is_refused(value: str, algorithm: str) -> None:
    with pytest.raises(AccessError):
        from_hash(value, algorithm)


def test_a_hash_of_another_cost_is_taken() -> None:
    from argon2 import PasswordHasher

    kept = from_hash(PasswordHasher(time_cost=1, memory_cost=64, parallelism=2).hash("secret"))
    assert verified(kept, "secret")


@pytest.mark.parametrize(
    ("pattern", "name", "allowed"),
    [
        ("", "", False),  # the default exchange is amq.default
        ("", "q", False),
        (".*", "q", True),
        (".*", "", True),
        (".*", "a\nb", True),
        (".*", "\udcff", True),
        (".+", "a\nb", True),
        ("^.*$", "a\nb", False),  # only the whole text .* is found everywhere unseen
        ("^a", "ba", False),
        ("a", "ba", True),
        ("^amq.default$", "", True),
        ("^a$", "a\n", True),  # as PCRE has it
    ],
)
def test_patterns_are_found_anywhere_in_a_name(pattern: str, name: str, allowed: bool) -> None:
    user = User("ann", NO_PASSWORD, (), {"/": Permission("", pattern, "")})
    access = Access(user, "/")
    assert access.allows("write", "exchange", name) is allowed
    assert not access.allows("configure", "exchange", name)


def test_what_stands_in_braces_is_taken_literally() -> None:
    user = User(
        ".*", NO_PASSWORD, (), {"/": ALL}, {"/": {"t": TopicPermission("^{username}-{vhost}-{client_id}$", "")}}
    )
    access = Access(user, "/", "(x")
    assert access.allows_topic("write", "t", ".*-/-(x")
    assert not access.allows_topic("write", "t", "a-/-(x")
    assert access.allows_topic("write", "other", "anything")
    assert not Access(user, "/").allows_topic("write", "t", ".*-/-")


def test_what_was_allowed_is_remembered_until_it_is_to_be_forgotten(users: Users) -> None:
    broker = Broker(users)
    ann = users.add("ann", NO_PASSWORD)
    broker.set_permission("ann", "/", ALL)
    access = Access(ann, "/")
    access.check("read", "queue", "q")
    broker.set_permission("ann", "/", Permission("", "", ""))
    access.forget()
    with pytest.raises(AccessRefused, match="read access to queue 'q' in vhost '/' refused for user 'ann'"):
        access.check("read", "queue", "q")


def test_of_what_is_allowed_only_so_much_is_remembered() -> None:
    access = Access(User("ann", NO_PASSWORD, (), {"/": ALL}), "/")
    for number in range(5000):
        access.check("read", "queue", str(number))
    assert len(access._allowed) <= 1000


def test_users_of_the_file_are_changed_there() -> None:
    ann = User("ann", plain("x"), (), {"/": ALL}, configured_in=frozenset({"/"}))
    users = Users([ann], default_user_loopback_only=True)
    broker = Broker(users)
    broker.create_vhost("v")
    for change in (
        lambda: users.delete("ann"),
        lambda: users.set_password("ann", NO_PASSWORD),
        lambda: users.set_tags("ann", []),
        lambda: broker.set_permission("ann", "/", ALL),
        lambda: broker.clear_permission("ann", "/"),
    ):
        with pytest.raises(AccessError, match="configuration file"):
            change()
    with pytest.raises(AlreadyThere):
        users.add("ann", NO_PASSWORD)
    broker.set_permission("ann", "v", ALL)
    assert set(ann.permissions) == {"/", "v"}


def test_changes_of_users_are_told(users: Users) -> None:
    changed: list[str] = []
    users.changed = lambda user: changed.append(user.name)
    users.deleted = lambda user: changed.append(f"{user.name} deleted")
    broker = Broker(users)
    users.add("ann", NO_PASSWORD)
    broker.set_permission("ann", "/", ALL)
    broker.set_permission("ann", "/", ALL)  # nothing new
    broker.set_topic_permission("ann", "/", "t", TopicPermission("", ""))
    broker.clear_topic_permissions("ann", "/")
    broker.clear_topic_permissions("ann", "/")
    users.set_tags("ann", ["monitoring"])
    users.set_password("ann", Password(PLAIN, "x"))
    broker.clear_permission("ann", "/")
    users.delete("ann")
    assert changed == ["ann"] * 5 + ["ann deleted"]


def test_a_virtual_host_is_gone_at_once_and_its_name_free_when_it_is_empty(users: Users) -> None:
    broker = Broker(users)
    vhost = broker.create_vhost("v")
    for number in range(3):
        vhost.declare_queue(f"q{number}", None)
    steps = broker.delete_vhost("v")
    assert "v" not in broker.vhosts
    with pytest.raises(AccessError, match="vhost 'v' is still being deleted"):
        broker.create_vhost("v")
    for _ in steps:
        pass
    assert not vhost.queues
    assert set(vhost.declared_exchanges) == {""}
    assert not broker.create_vhost("v").queues


def test_a_kept_pattern_that_is_refused_now_allows_nothing(users: Users, caplog: pytest.LogCaptureFixture) -> None:
    users.by_name["eve"] = user = User("eve", NO_PASSWORD)
    users.restore_permission("/", "eve", [".*", "(?<=a)b", ".*"])
    users.restore_topic_permission("/", "eve", "amq.topic", ["(a)\\1", ""])
    assert user.permission("/") is None
    assert user.topic_permissions_in("/")["amq.topic"] == TopicPermission("", "")
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]
