"""Definitions made one with what a broker has: what would change, and then the change, all of it or nothing.

Both go step by step, so that whoever runs them can do other things in between. First every entry is checked against the
broker and the other entries, and compared; when one cannot be, nothing is changed, unless the best is to be made of it.
Then the changes are made. When one fails after all, because clients have changed something meanwhile, those before it
are taken back, but for queues that are used by then. A crash in between leaves no half either (definition_promises).
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any

import msgspec

from flowmq.amqp.errors import AMQPError
from flowmq.broker.definition_access import PermissionEntry, TopicPermissionEntry, UserEntry, VHostEntry
from flowmq.broker.definition_entries import EXCHANGES, METADATA, QUEUES, USERS, VHOSTS, DefinitionError, Entry, Key
from flowmq.broker.definition_export import entries_of
from flowmq.broker.definition_limits import LIMIT_COMPONENT, VHostLimitsEntry
from flowmq.broker.definition_policies import (
    OPERATOR_POLICY_COMPONENT,
    GlobalParameterEntry,
    OperatorPolicyEntry,
    ParameterEntry,
    PolicyEntry,
)
from flowmq.broker.definition_promises import Promise
from flowmq.broker.definition_topology import BindingEntry, ExchangeEntry, QueueEntry
from flowmq.broker.exchanges import PREDECLARED
from flowmq.broker.limits import LimitError
from flowmq.broker.parameters import ParameterError
from flowmq.broker.permissions import AccessError
from flowmq.broker.policy_keys import PolicyError

if TYPE_CHECKING:
    from flowmq.broker.broker import Broker

AMONG_PARAMETERS = (OperatorPolicyEntry.SECTION, VHostLimitsEntry.SECTION)  # and in no section of their own
# In this order they are made, and in the opposite one deleted.
ENTRIES: tuple[type[Entry], ...] = (
    *(VHostEntry, UserEntry, PermissionEntry, TopicPermissionEntry, GlobalParameterEntry, ParameterEntry),
    VHostLimitsEntry,
    *(PolicyEntry, OperatorPolicyEntry, ExchangeEntry, QueueEntry, BindingEntry),
)
BY_SECTION = {kind.SECTION: kind for kind in ENTRIES}
IN_A_VHOST = ("parameters", "policies", EXCHANGES, QUEUES, "bindings")  # what one virtual host's file has
REFUSALS = (AMQPError, AccessError, PolicyError, DefinitionError, ParameterError, LimitError)
FORGOTTEN_AT_A_TIME = 200
ADDED, CHANGED, DELETED, SAME, LEFT, FAILED = "add", "change", "delete", "same", "leave", "error"


@dataclass(slots=True)
class Result:
    """What becomes of one entry, or would become."""

    section: str
    what: str
    action: str
    details: str = ""  # the fields that change, why it is left as it is, or what is wrong
    warnings: list[str] = field(default_factory=list)

    def as_row(self) -> dict[str, Any]:
        row = {"section": self.section, "what": self.what, "action": self.action, "details": self.details}
        return {**row, "warnings": self.warnings}


@dataclass(frozen=True, slots=True)
class Options:
    vhost: str | None = None  # the file is about one virtual host, and says nothing of others
    dry_run: bool = False
    best_effort: bool = False
    delete_missing: bool = False


class Import:
    def __init__(self, broker: "Broker", options: Options) -> None:
        self.broker, self.options = broker, options
        self.entries: dict[Key, Entry] = {}
        self.sections: set[str] = set()  # those that the file has
        self.results: list[Result] = []
        self.counts: Counter[str] = Counter()
        self.done = 0  # of the changes
        self.applied = False

    # -------------------------------------------------------------------------------------------------- reading

    def check_section(self, section: str) -> bool:
        """Is it one with entries? An error when nobody knows it."""
        if section in METADATA:
            return False
        if section not in BY_SECTION or section in AMONG_PARAMETERS:
            raise DefinitionError(f"there is no section {section!r} in definitions")
        return True

    def stage(self, section: str, values: list[Any]) -> None:
        """Read some entries. Those that cannot be read are results already."""
        if not self.check_section(section):
            return
        if self.options.vhost is not None and section not in IN_A_VHOST and values:
            raise DefinitionError(f"{section} are not part of the definitions of one virtual host")
        self.sections.add(section)
        if section == ParameterEntry.SECTION:
            self.sections.update(AMONG_PARAMETERS)
        for value in values:
            try:
                self._stage(section, value)
            except (DefinitionError, msgspec.ValidationError) as error:
                self._result(Result(section, described(section, value), FAILED, str(error)))

    def _stage(self, section: str, value: Any) -> None:
        entry = read(section, value, self.options.vhost)
        if entry.key in self.entries:
            raise DefinitionError("it stands there twice")
        self.entries[entry.key] = entry

    def stage_all(self, definitions: Mapping[str, Any]) -> Iterator[None]:
        for section, values in definitions.items():
            if not self.check_section(section):
                continue
            if not isinstance(values, list):
                raise DefinitionError(f"{section}: expected a list")
            for at in range(0, len(values), 20):
                self.stage(section, values[at : at + 20])
                yield
            self.stage(section, [])

    # ---------------------------------------------------------------------------------------- what would change

    def steps(self) -> Iterator[None]:
        """The whole of it."""
        changes: list[tuple[Entry, Entry | None, Result]] = []
        yield from self._compare(changes)
        deletions: list[tuple[Entry, Result]] = []
        if self.options.delete_missing:
            yield from self._find_missing(deletions)
        if self.options.dry_run or (self.counts[FAILED] and not self.options.best_effort):
            return
        yield from self._apply(changes, deletions)
        while changes:
            del changes[-FORGOTTEN_AT_A_TIME:]
            yield

    def forget(self) -> Iterator[None]:
        """What was read: giving back very much at once takes its time too."""
        while self.entries:
            for _ in range(min(len(self.entries), FORGOTTEN_AT_A_TIME)):
                self.entries.popitem()
            yield

    def _compare(self, changes: list[tuple[Entry, Entry | None, Result]]) -> Iterator[None]:
        by_section: dict[str, list[Entry]] = {kind.SECTION: [] for kind in ENTRIES}
        for entry in self.entries.values():
            by_section[entry.SECTION].append(entry)
        refused: set[Key] = set()
        for kind in ENTRIES:
            for entry in by_section[kind.SECTION]:
                result, found = self._judge(entry, refused)
                if result.action == FAILED:
                    refused.add(entry.key)
                if result.action in (ADDED, CHANGED):
                    changes.append((entry, found, result))
                self._result(result)
                yield

    def _judge(self, entry: Entry, refused: set[Key]) -> tuple[Result, Entry | None]:
        result = Result(entry.SECTION, entry.where, SAME, warnings=entry.warnings())
        try:
            for need in entry.needs():
                if need in refused or not (need in self.entries or is_there(self.broker, need)):
                    raise DefinitionError(f"there is no {BY_SECTION[need[0]].KIND} '{need[-1]}'")
            entry.check(self.broker, self.entries)
            fixed = entry.fixed(self.broker)
            found = None if fixed else entry.found(self.broker)
            if fixed:
                result.action, result.details = LEFT, fixed
            elif found is None:
                result.action = ADDED
            elif differences := entry.differs(found):
                result.action, result.details = CHANGED, ", ".join(differences)
        except REFUSALS as error:
            result.action, result.details = FAILED, reason(error)
            return result, None
        return result, found

    def _find_missing(self, deletions: list[tuple[Entry, Result]]) -> Iterator[None]:
        """Only of what the file has sections for."""
        for entry in entries_of(self.broker, self.options.vhost, durable_only=True):
            yield
            if entry.SECTION not in self.sections or entry.key in self.entries or entry.fixed(self.broker):
                continue
            if entry.SECTION == EXCHANGES and entry.key[-1] in PREDECLARED:
                continue
            result = Result(entry.SECTION, entry.where, DELETED)
            try:
                entry.check_removable(self.broker)
                deletions.append((entry, result))
            except REFUSALS as error:
                result.action, result.details = FAILED, reason(error)
            self._result(result)

    # ------------------------------------------------------------------------------------------------ the change

    def _apply(
        self, changes: list[tuple[Entry, Entry | None, Result]], deletions: list[tuple[Entry, Result]]
    ) -> Iterator[None]:
        promise = Promise(self.broker.definitions)
        made, deleted = ((entry, False) for entry, *_ in changes), ((entry, True) for entry, _ in deletions)
        yield from promise.given(chain(made, deleted))
        for entry, _, result in changes:
            if not self._done(result, lambda entry=entry: entry.apply(self.broker)):  # type: ignore[misc]
                if self.options.best_effort:
                    continue
                yield from promise.kept()
                yield from self._take_back(changes[: self.done])
                yield from self._finish_policies()
                return
            self.done += 1
            yield
        yield from self._finish_policies()
        for kind in reversed(ENTRIES):
            for entry, result in (both for both in deletions if both[0].SECTION == kind.SECTION):
                steps: list[Iterator[None] | None] = []
                if entry.found(self.broker) is not None:
                    self._done(result, lambda entry=entry, steps=steps: steps.append(entry.remove(self.broker)))  # type: ignore[misc]
                for rest in steps:
                    yield from rest or ()
                yield
        yield from self._finish_policies()
        self.applied = True
        yield from promise.kept()

    def _finish_policies(self) -> Iterator[None]:
        """What they concern does as they say before the import is told to be over."""
        for vhost in list(self.broker.vhosts.values()):
            yield from vhost.policies.finish()

    def _done(self, result: Result, change: Callable[[], object]) -> bool:
        try:
            change()
        except REFUSALS as error:
            self.counts[result.action] -= 1
            result.action, result.details = FAILED, reason(error)
            self.counts[FAILED] += 1
            return False
        return True

    def _take_back(self, changes: list[tuple[Entry, Entry | None, Result]]) -> Iterator[None]:
        for entry, found, _ in reversed(changes):
            try:
                if found is None:
                    yield from entry.take_back(self.broker) or ()
                else:
                    found.apply(self.broker)
            except REFUSALS as error:
                self._result(Result("", "taking back what was changed", FAILED, reason(error)))
            yield

    def _result(self, result: Result) -> None:
        self.counts[result.action] += 1
        if result.action != SAME or result.warnings:
            self.results.append(result)

    def summary(self) -> dict[str, Any]:
        return {**{name: self.counts[name] for name in SUMMARY}, "applied": self.applied}


SUMMARY = (ADDED, CHANGED, DELETED, SAME, LEFT, FAILED)


def read(section: str, value: Any, vhost: str | None) -> Entry:
    if not isinstance(value, dict):
        raise DefinitionError("expected an object")
    if vhost is not None:
        if value.get("vhost", vhost) != vhost:
            raise DefinitionError(f"it is in vhost '{value['vhost']}', and definitions of vhost '{vhost}' are imported")
        value = {**value, "vhost": vhost}
    kind = BY_SECTION[section]
    if section == ParameterEntry.SECTION and value.get("component") == OPERATOR_POLICY_COMPONENT:
        kind = OperatorPolicyEntry
        policy = value.get("value")
        if not isinstance(policy, dict):
            raise DefinitionError("expected an object as its value")
        value = {**policy, **{name: value[name] for name in ("vhost", "name") if name in value}}
    if section == ParameterEntry.SECTION and value.get("component") == LIMIT_COMPONENT:
        kind = VHostLimitsEntry
        value = {name: value[name] for name in ("vhost", "name", "value") if name in value}
    return msgspec.convert(value, kind)


def described(section: str, value: Any) -> str:
    """One that could not be read."""
    name = value.get("name", value.get("user", value.get("source"))) if isinstance(value, dict) else value
    kind = BY_SECTION[section].KIND
    return f"{kind} '{name}'" if isinstance(name, str) else f"{kind} {name!r}"


def reason(error: Exception) -> str:
    return error.explanation if isinstance(error, AMQPError) else str(error)


def is_there(broker: "Broker", key: Key) -> bool:
    section, *names = key
    if section == VHOSTS:
        return names[0] in broker.vhosts
    if section == USERS:
        return names[0] in broker.users
    vhost = broker.vhosts.get(names[0])
    return vhost is not None and names[1] in (vhost.queues if section == QUEUES else vhost.declared_exchanges)


def finish(broker: "Broker", promised: list[tuple[str, dict[str, Any], bool]]) -> Import:
    """What a crash has interrupted is done now, as far as it has not been."""
    both = [Import(broker, Options(best_effort=True)) for _ in range(2)]
    for section, value, is_deletion in promised:
        both[is_deletion].stage(section, [value])
    made, deleted = both
    for _ in made.steps():
        pass
    for entry in reversed(deleted.entries.values()):
        if entry.found(broker) is not None:
            for _ in entry.remove(broker) or ():
                pass
    return made
