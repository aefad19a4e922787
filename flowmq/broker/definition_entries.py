"""What stands in a file of definitions: one class for each section, in RabbitMQ's form and with its names.

An entry reads itself from JSON (msgspec), finds what the broker has under its key, and makes the broker have it. Not
here: queues, exchanges and bindings (definition_topology), and in which order and under which conditions this is done
(definition_import).
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

import msgspec

from flowmq.amqp.tables import Array, Table, Timestamp, encode_table
from flowmq.broker.names import octets

if TYPE_CHECKING:
    from flowmq.broker.broker import Broker

NAME_BYTES_MAX = 255
INTEGER_MIN, INTEGER_MAX = -(2**63), 2**63 - 1
Key = tuple[Any, ...]  # the section, and what names the entry in it
Coming = Mapping[Key, "Entry"]  # what else the file has, whether or not it is there already
# What a file says of itself.
METADATA = (
    *("rabbit_version", "rabbitmq_version", "product_name", "product_version", "rabbitmq_definition_format"),
    *("original_cluster_name", "original_vhost_name", "explanation", "metadata", "vhost", "default_queue_type"),
    *("description", "flowmq_version"),
)
VHOSTS, USERS, EXCHANGES, QUEUES = "vhosts", "users", "exchanges", "queues"


class DefinitionError(ValueError):
    """An entry that cannot be; the message is one line that says why."""


class Entry(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    SECTION: ClassVar[str]
    KIND: ClassVar[str]
    IGNORED: ClassVar[tuple[str, ...]] = ()  # fields that are read and mean nothing here

    @property
    def key(self) -> Key:
        raise NotImplementedError

    @property
    def where(self) -> str:
        """What it is, for people."""
        raise NotImplementedError

    def needs(self) -> Iterator[Key]:
        """What must be there before it."""
        return iter(())

    def check(self, broker: "Broker", coming: Coming) -> None:
        """Can it be? An error says why not. What it needs is there, or comes before it."""

    def fixed(self, broker: "Broker") -> str | None:
        """Why nobody may change it here, if so: the configuration file says it."""
        return None

    def found(self, broker: "Broker") -> Self | None:
        """What the broker has in its place, as an entry."""
        raise NotImplementedError

    def differs(self, found: Self) -> list[str]:
        """The fields in which it would change what is there; an error if it cannot."""
        fields = (name for name in self.__struct_fields__ if name not in self.IGNORED)
        return [name for name in fields if getattr(self, name) != getattr(found, name)]

    def warnings(self) -> list[str]:
        """What of it has no effect here."""
        return []

    def check_removable(self, broker: "Broker") -> None:
        """May it be taken away?"""

    def apply(self, broker: "Broker") -> None:
        """Make it, or change what is there to it."""
        raise NotImplementedError

    def remove(self, broker: "Broker") -> Iterator[None] | None:
        """Take it away; bit by bit, if there is much in it."""
        raise NotImplementedError

    def take_back(self, broker: "Broker") -> Iterator[None] | None:
        """Take it away, since what was to come with it could not be."""
        return self.remove(broker)

    def as_entry(self, *, with_vhost: bool = True) -> dict[str, Any]:
        """As it stands in a file."""
        left_out = self.IGNORED if with_vhost else (*self.IGNORED, "vhost")
        names = zip(self.__struct_fields__, self.__struct_encode_fields__, strict=True)
        return {told: getattr(self, name) for name, told in names if name not in left_out}


def check_name(what: str, name: str, *, empty: bool = False) -> None:
    """Any octets will do, but not half a character, and no more than AMQP can carry."""
    if not name and not empty:
        raise DefinitionError(f"the name of a {what} must not be empty")
    try:
        count = len(octets(name))
    except UnicodeEncodeError:
        raise DefinitionError(f"{name!r} is not Unicode text") from None
    if count > NAME_BYTES_MAX:
        raise DefinitionError(f"the name of a {what} is at most {NAME_BYTES_MAX} octets long")


def check_texts(value: Any) -> None:
    """All texts within it are ones that can be written to a disk."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise DefinitionError(f"{value!r} is not Unicode text") from None
    elif isinstance(value, dict):
        for name, item in value.items():
            check_texts(name)
            check_texts(item)
    elif isinstance(value, list):
        for item in value:
            check_texts(item)
    elif isinstance(value, int) and not INTEGER_MIN <= value <= INTEGER_MAX:
        raise DefinitionError(f"{value} has more than 64 bits")


# ------------------------------------------------------------------------------------------- tables, as JSON has them


def pairs(value: Any) -> dict[str, Any]:
    """A table: an object, or what Erlang makes of one, a list of names and values."""
    if isinstance(value, dict):
        return value
    if isinstance(value, list) and all(isinstance(item, list) and len(item) == 2 for item in value):
        return {str(name): item for name, item in value}
    raise DefinitionError(f"expected an object, got {value!r}")


def words(value: list[str] | str) -> list[str]:
    """A list, or a text with commas."""
    return [word.strip() for word in value.split(",") if word.strip()] if isinstance(value, str) else value


def as_table(value: dict[str, Any]) -> Table:
    """A field table of what JSON can say."""
    if not value:
        return Table()
    table = Table({name: field(item) for name, item in value.items()})
    try:
        encode_table(table)
    except (ValueError, TypeError, RecursionError) as error:
        raise DefinitionError(f"arguments: {error}") from None
    return table


def field(value: Any) -> Any:
    if isinstance(value, dict):
        return Table({name: field(item) for name, item in value.items()})
    return Array([field(item) for item in value]) if isinstance(value, list) else value


def plain(value: Any) -> Any:
    """A field's value without AMQP's types."""
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if isinstance(value, Timestamp):
        return int(value)
    return value if isinstance(value, bool | int | float | str) or value is None else str(value)
