"""How many connections, channels and queues there may be, and how many there are; what was refused because of it.

Limits of a virtual host or a user are set while the broker runs and are durable; where none is set, the setting for all
of them counts. Other limits are settings alone, checked where they matter; here it is only counted what they refused.
"""

from collections import Counter
from collections.abc import Mapping

from flowmq.amqp.errors import NotAllowed, PreconditionFailed
from flowmq.broker.definitions import Definitions

VHOST_LIMITS, USER_LIMITS = "vhost_limits", "user_limits"
CONNECTIONS, CHANNELS, QUEUES = "max-connections", "max-channels", "max-queues"
KNOWN = {VHOST_LIMITS: (CONNECTIONS, QUEUES), USER_LIMITS: (CONNECTIONS, CHANNELS)}
VALUE_MAX = 2**31 - 1

Values = dict[str, int]


class LimitError(ValueError):
    """It cannot be set; the message is for whoever tried."""


class Limits:
    """`defaults`: for each kind what counts where nothing is set; 0 is no limit there."""

    def __init__(self, defaults: Mapping[str, Values] | None = None, definitions: Definitions | None = None) -> None:
        self.definitions = definitions or Definitions()
        given = defaults or {}
        self.defaults = {kind: {name: n for name, n in given.get(kind, {}).items() if n} for kind in KNOWN}
        self.stored: dict[str, dict[str, Values]] = {kind: {} for kind in KNOWN}
        self.connections: dict[str, dict[str, int]] = {kind: {} for kind in KNOWN}
        self.open_connections = 0
        self.channels: dict[str, int] = {}  # by user
        self.refused: Counter[str] = Counter()  # by limit

    # ------------------------------------------------------------------------------------------------ what is set

    def get(self, kind: str, owner: str, name: str) -> int | None:
        """The limit in force; None when there is none."""
        value = self.stored[kind].get(owner, self.defaults[kind]).get(name, self.defaults[kind].get(name))
        return None if value is None or value < 0 else value

    def all(self, kind: str) -> dict[str, Values]:
        """What was set, by virtual host or user."""
        return {owner: dict(values) for owner, values in self.stored[kind].items()}

    def set(self, kind: str, owner: str, name: str, value: int) -> None:
        """Negative: no limit, whatever the setting for all says. It counts for what comes; nobody is thrown out."""
        if name not in KNOWN[kind]:
            raise LimitError(f"unknown limit '{name}': known are {', '.join(KNOWN[kind])}")
        if not isinstance(value, int) or isinstance(value, bool) or value > VALUE_MAX:
            raise LimitError(f"{name} = {value!r}: must be an integer up to {VALUE_MAX}")
        self._store(kind, owner, {**self.stored[kind].get(owner, {}), name: max(value, -1)})

    def clear(self, kind: str, owner: str, name: str | None = None) -> bool:
        """One limit, or all of that virtual host or user. False when nothing was set."""
        values = self.stored[kind].get(owner, {})
        if not values or (name is not None and name not in values):
            return False
        self._store(kind, owner, {key: value for key, value in values.items() if name is not None and key != name})
        return True

    def restore(self, kind: str, owner: str, values: Values) -> None:
        """As it was set before a restart."""
        self.stored[kind][owner] = dict(values)

    def _store(self, kind: str, owner: str, values: Values) -> None:
        if values == self.stored[kind].get(owner, {}):
            return
        if values:
            self.definitions.put(kind, (owner,), values)
            self.stored[kind][owner] = values
        else:
            self.definitions.delete(kind, (owner,))
            del self.stored[kind][owner]

    # ------------------------------------------------------------------------------------------------ what there is

    def check_vhost_connection(self, vhost: str, user: str) -> None:
        limit = self.get(VHOST_LIMITS, vhost, CONNECTIONS)
        if limit is not None and self.connections[VHOST_LIMITS].get(vhost, 0) >= limit:
            raise NotAllowed(
                f"access to vhost '{vhost}' refused for user '{user}': connection limit ({limit}) is reached",
                limit="vhost_connections",
            )

    def check_user_connection(self, user: str) -> None:
        limit = self.get(USER_LIMITS, user, CONNECTIONS)
        if limit is not None and self.connections[USER_LIMITS].get(user, 0) >= limit:
            raise NotAllowed(
                f"connection refused for user '{user}': user connection limit ({limit}) is reached",
                limit="user_connections",
            )

    def connection_opened(self, vhost: str, user: str) -> None:
        self.open_connections += 1
        enter(self.connections[VHOST_LIMITS], vhost)
        enter(self.connections[USER_LIMITS], user)

    def connection_closed(self, vhost: str, user: str) -> None:
        self.open_connections -= 1
        leave(self.connections[VHOST_LIMITS], vhost)
        leave(self.connections[USER_LIMITS], user)

    def check_channel(self, user: str) -> None:
        limit = self.get(USER_LIMITS, user, CHANNELS)
        if limit is not None and self.channels.get(user, 0) >= limit:
            raise NotAllowed(
                f"number of channels opened for user '{user}' has reached the maximum allowed user limit of ({limit})",
                limit="user_channels",
            )

    def channel_opened(self, user: str) -> None:
        enter(self.channels, user)

    def channel_closed(self, user: str) -> None:
        leave(self.channels, user)

    def check_queue(self, vhost: str, name: str, count: int) -> None:
        limit = self.get(VHOST_LIMITS, vhost, QUEUES)
        if limit is not None and count >= limit:
            raise PreconditionFailed(
                f"cannot declare queue '{name}': queue limit in vhost '{vhost}' ({limit}) is reached",
                limit="vhost_queues",
            )


def enter(counts: dict[str, int], name: str) -> None:
    counts[name] = counts.get(name, 0) + 1


def leave(counts: dict[str, int], name: str) -> None:
    left = counts.get(name, 0) - 1
    if left > 0:
        counts[name] = left
    else:
        counts.pop(name, None)
