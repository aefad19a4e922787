"""What the scopes of a token allow, and what they do not."""

import re

import pytest

from flowmq.amqp.errors import AccessRefused
from flowmq.broker.permissions import EXCHANGE, QUEUE, Access
from flowmq.broker.scopes import TokenUser, parse_scopes

FAR = 4e9


def user(*scopes: str, prefix: str = "") -> TokenUser:
    parsed, tags = parse_scopes(scopes, prefix)
    return TokenUser("ann", parsed, tags, FAR)


# Scopes, then what is asked: permission, virtual host, name; and the answer.
ASKED = [
    (["read:*/*"], ("read", "/", "orders"), True),
    (["read:*/*"], ("write", "/", "orders"), False),
    (["read:%2F/orders"], ("read", "/", "orders"), True),
    (["read:%2f/orders"], ("read", "/", "orders.eu"), False),
    (["read:%2F/orders.*"], ("read", "/", "orders.eu"), True),
    (["read:%2F/orders.*"], ("read", "/", "ordersXeu"), False),
    (["read:%2F/*.eu"], ("read", "/", "orders.eu"), True),
    (["read:%2F/*.eu"], ("read", "/", "orders.eu\n"), False),
    (["read:%2F/*"], ("read", "/", "two\nlines"), True),
    (["read:%2F/a*b*c"], ("read", "/", "a--b--c"), True),
    (["read:%2F/a*b*c"], ("read", "/", "a--c--b"), False),
    (["read:%2F/%2A"], ("read", "/", "anything"), False),
    (["read:%2F/%2A"], ("read", "/", "*"), True),
    (["read:%2F/with%20blank"], ("read", "/", "with blank"), True),
    (["read:%2F/with+blank"], ("read", "/", "with blank"), True),
    (["read:%2F/with%2Bplus"], ("read", "/", "with+plus"), True),
    (["read:%2F/with+plus"], ("read", "/", "with+plus"), False),
    (["read:%2F/[a-z]"], ("read", "/", "a"), False),  # no regular expression
    (["read:shop*/*"], ("read", "shop-eu", "orders"), True),
    (["read:*/a", "read:*/b"], ("read", "/", "b"), True),
    (["configure:*/a", "write:*/b"], ("configure", "/", "b"), False),
    (["write:*/amq.default"], ("write", "/", ""), True),
    (["write:*/*/key"], ("write", "/", "orders"), True),  # the key is for topic exchanges
]
NO_ACCESS = [
    ["read:other/*"],
    ["read:*"],
    ["read:a/b/c/d"],
    ["read:/a", "read://a"],
    ["tag:administrator"],
    ["openid", "profile", "read", ":", "", "own:*/*"],
    [],
]


@pytest.mark.parametrize(("scopes", "asked", "answer"), ASKED)
def test_what_is_allowed(scopes: list[str], asked: tuple[str, str, str], answer: bool) -> None:
    permission, vhost, name = asked
    assert Access(user(*scopes), vhost).allows(permission, QUEUE, name) is answer


@pytest.mark.parametrize("scopes", NO_ACCESS)
def test_a_virtual_host_that_no_scope_names_is_closed(scopes: list[str]) -> None:
    assert user(*scopes).permission("/") is None


def test_tags() -> None:
    assert user("tag:administrator", "tag:monitoring", "tag:administrator", "tag:").tags == (
        "administrator",
        "monitoring",
    )


def test_only_scopes_with_the_prefix_are_meant_for_us() -> None:
    somebody = user("messages.read:*/a", "read:*/b", "messages.tag:monitoring", "tag:administrator", prefix="messages.")
    access = Access(somebody, "/")
    assert access.allows("read", QUEUE, "a")
    assert not access.allows("read", QUEUE, "b")
    assert somebody.tags == ("monitoring",)


def test_routing_keys() -> None:
    access = Access(user("write:*/orders/eu.*", "write:*/orders/us.new", "read:*/orders/*", "write:*/free"), "/")
    assert access.has_topic_permissions
    assert access.allows_topic("write", "orders", "eu.old")
    assert access.allows_topic("write", "orders", "us.new")
    assert not access.allows_topic("write", "orders", "us.old")
    assert access.allows_topic("read", "orders", "anything")
    with pytest.raises(AccessRefused):
        access.check_topic("write", "orders", "us.old")


@pytest.mark.parametrize("scopes", [["write:*/*"], ["write:*/orders", "write:*/orders/eu"], ["write:other/*/*"], []])
def test_on_a_topic_exchange_only_scopes_with_a_routing_key_count(scopes: list[str]) -> None:
    access = Access(user(*scopes), "/")
    assert access.has_topic_permissions
    assert not access.allows_topic("write", "orders", "us")


def test_a_refusal_names_the_user_of_the_token() -> None:
    refusal = "write access to exchange 'amq.default' in vhost '/' refused for user 'ann'"
    with pytest.raises(AccessRefused, match=re.escape(refusal)):
        Access(user("read:*/*"), "/").check("write", EXCHANGE, "")
