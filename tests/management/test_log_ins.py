"""What the HTTP API remembers of a log-in counts until the broker knows better, whoever has changed it."""

from collections.abc import Callable, Iterator

import pytest

from tests.support.accounts import FlowMQAccounts
from tests.support.broker import Broker
from tests.support.http import Api, api_of

USER, PASSWORD = "somebody", "a password of theirs"


@pytest.fixture
def accounts(own_broker: Callable[..., Broker]) -> Iterator[tuple[Api, FlowMQAccounts]]:
    broker = own_broker(FLOWMQ_MANAGEMENT__LISTEN="127.0.0.1:0")
    changed = FlowMQAccounts(broker.data_dir)
    changed.add_user(USER, PASSWORD, "management")
    changed.permit(USER, "/")
    api = api_of(broker).as_user(USER, PASSWORD)
    # From now on the log-in is remembered.
    assert api.get("queues", "/") == []
    yield api, changed
    broker.stop()


def test_what_is_given_or_taken_on_the_command_line_counts_at_once(accounts: tuple[Api, FlowMQAccounts]) -> None:
    api, changed = accounts
    queue = ("queues", "new", "queue")
    changed.add_vhost("new")
    assert api.put(*queue) == 401
    changed.permit(USER, "new")
    assert api.put(*queue) == 201
    changed.forbid(USER, "new")
    assert api.ask("GET", *queue).status == 401
    changed.permit(USER, "new")
    assert api.ask("GET", *queue).status == 200
    changed.delete_vhost("new")
    assert [found["name"] for found in api.get("vhosts")] == ["/"]
    assert api.ask("GET", "users").status == 401
    changed.set_tags(USER, "administrator")
    assert api.ask("GET", "users").status == 200


def test_a_user_who_is_deleted_or_has_another_password_is_out(accounts: tuple[Api, FlowMQAccounts]) -> None:
    api, changed = accounts
    changed.set_password(USER, "another one")
    assert api.ask("GET", "whoami").status == 401
    again = api.as_user(USER, "another one")
    assert again.get("whoami")["name"] == USER
    changed.delete_user(USER)
    assert again.ask("GET", "whoami").status == 401
