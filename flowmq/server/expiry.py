"""The end of a token: it ends the connections that were opened with it, unless they have got a newer one by then."""

import time
from typing import TYPE_CHECKING

from flowmq.broker.scopes import TokenUser
from flowmq.broker.users import User

if TYPE_CHECKING:
    from flowmq.server.session import Session

EXPIRED = "credential expired"
LOOK_AGAIN_SECONDS = 3600.0  # clocks are set, and ours counts


def watch(session: "Session") -> None:
    """From now on; of a user with a password nothing ends."""
    if session.expiry is not None:
        session.expiry.cancel()
        session.expiry = None
    if isinstance(session.user, TokenUser):
        left = session.user.expires_at - time.time()
        session.expiry = session.node.loop.call_later(min(max(left, 0.0), LOOK_AGAIN_SECONDS), look, session)


def look(session: "Session") -> None:
    if isinstance(session.user, TokenUser) and session.user.expires_at <= time.time():
        session.force(EXPIRED)
    else:
        watch(session)


def renew(session: "Session", user: User) -> bool:
    """The client has shown a new secret. False when that is somebody else's, or of another kind."""
    if user is session.user:
        return True
    if not (isinstance(user, TokenUser) and isinstance(session.user, TokenUser)) or user.name != session.user.name:
        return False
    session.node.logged_in(session, user)
    if session.access is not None:
        session.access.grants = user
    session.access_changed()
    watch(session)
    return True
