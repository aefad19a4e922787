"""A change of one user is told to that user's connections, and nobody looks through all others for it."""

from typing import Any

from flowmq.broker.permissions import ALL, Permission
from flowmq.server.handshake import admit
from tests.unit.support_plane import Plane


class NotWalked(set[Any]):
    def __iter__(self) -> Any:
        raise AssertionError("all sessions were looked at")


def test_only_the_connections_of_that_user_are_looked_at() -> None:
    with Plane() as plane:
        node = plane.node
        others = [plane.client(1) for _ in range(50)]
        before = dict(node.sessions_by_user)
        ann = node.broker.users.add("ann", others[0].session.user.password)
        node.broker.set_permission("ann", "/", ALL)
        hers = [plane.client(1) for _ in range(3)]
        for client in hers:
            admit(client.session, ann)
            client.take()
        told: list[Any] = []
        for client in (*others, *hers):
            client.session.access_changed = lambda client=client: told.append(client)
        sessions, node.sessions = node.sessions, NotWalked(node.sessions)
        node.broker.set_permission("ann", "/", Permission("", "", ""))
        assert {id(client) for client in told} == {id(client) for client in hers}
        assert len(told) == 3
        node.broker.users.delete("ann")
        node.sessions = sessions
        assert all(client.connection.closing for client in hers)
        assert not any(client.connection.closing for client in others)
        for client in hers:
            client.lose()
        assert node.sessions_by_user.keys() == before.keys()
        for client in others:
            client.lose()
        assert not node.sessions_by_user
