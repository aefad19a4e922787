"""Policies: what queues and exchanges whose names match a pattern are to do, without declaring them anew.

At most one policy and one operator policy count for an object: the matching one of the highest priority, and among
those the one whose name comes first. Not here: what the keys may hold (policy_keys), how they add up with arguments
(settings), and how they get to what is declared (vhost_policies).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from flowmq.broker.patterns import Pattern, PatternError
from flowmq.broker.policy_keys import NUMBER_MAX, PolicyError, check_definition, check_text
from flowmq.broker.settings import CLASSIC, QUORUM, Definition

POLICY, OPERATOR_POLICY = "policy", "operator-policy"
STREAM, EXCHANGE = "stream", "exchange"
QUEUE_TYPES = frozenset({CLASSIC, QUORUM, STREAM})
EXCHANGES_ONLY = frozenset({EXCHANGE})
# What a policy may say that it applies to -> which types of objects those are.
APPLY_TO: dict[str, frozenset[str]] = {
    "all": QUEUE_TYPES | {EXCHANGE},
    "queues": QUEUE_TYPES,
    "classic_queues": frozenset({CLASSIC}),
    "quorum_queues": frozenset({QUORUM}),
    "streams": frozenset({STREAM}),
    "exchanges": EXCHANGES_ONLY,
}


@dataclass(frozen=True, slots=True)
class Policy:
    """Checked when it is made: a PolicyError says what is wrong with it."""

    name: str
    pattern: str
    definition: Definition
    vhost: str = "/"
    apply_to: str = "all"
    priority: int = 0
    operator: bool = False
    regex: Pattern = field(init=False, repr=False, compare=False)
    objects: frozenset[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        try:
            self._check()
            object.__setattr__(self, "regex", compiled(self.pattern))
        except PolicyError as error:
            raise PolicyError(f"{self.kind.replace('-', ' ')} {self.name!r}: {error}") from None
        object.__setattr__(self, "objects", APPLY_TO[self.apply_to])
        object.__setattr__(self, "definition", dict(self.definition))

    def _check(self) -> None:
        for name in ("name", "vhost", "pattern", "apply_to"):
            if not isinstance(getattr(self, name), str):
                raise PolicyError(f"{name} must be a text")
            check_text(getattr(self, name))
        if not self.name:
            raise PolicyError("the name is empty")
        if type(self.priority) is not int or abs(self.priority) > NUMBER_MAX:
            raise PolicyError(f"priority = {self.priority!r}: must be an integer")
        if self.apply_to not in APPLY_TO:
            raise PolicyError(f"apply-to = {self.apply_to!r}: must be one of {', '.join(APPLY_TO)}")
        if not isinstance(self.definition, dict):
            raise PolicyError("the definition must be a table of keys and values")
        check_definition(self.definition, operator=self.operator)

    @property
    def kind(self) -> str:
        return OPERATOR_POLICY if self.operator else POLICY

    @property
    def where(self) -> str:
        return f"{self.kind.replace('-', ' ')} '{self.name}' in vhost '{self.vhost}'"

    def matches(self, object_type: str, name: str) -> bool:
        """`object_type` is the type of a queue, or EXCHANGE."""
        return object_type in self.objects and self.regex.found_in(name)

    def as_record(self) -> dict[str, Any]:
        """Without its name, as it is kept on disk."""
        return {
            "pattern": self.pattern,
            "apply_to": self.apply_to,
            "priority": self.priority,
            "definition": dict(self.definition),
        }


def compiled(text: str) -> Pattern:
    try:
        return Pattern(text)
    except PatternError as error:
        raise PolicyError(str(error)) from None


class PolicySet:
    """The policies of one kind in one virtual host: those set at run time, and before them those of the file."""

    def __init__(self) -> None:
        self.stored: dict[str, Policy] = {}
        self.configured: dict[str, Policy] = {}
        self._ordered: list[Policy] = []

    def __iter__(self) -> Iterator[Policy]:
        return iter(self._ordered)

    def get(self, name: str) -> Policy | None:
        return self.configured.get(name) or self.stored.get(name)

    def put(self, policy: Policy) -> list[Policy]:
        """Returns the policies that came or went by it."""
        return self._replace(self.stored, {**self.stored, policy.name: policy})

    def remove(self, name: str) -> list[Policy]:
        return self._replace(self.stored, {kept: policy for kept, policy in self.stored.items() if kept != name})

    def configure(self, policies: Iterable[Policy]) -> list[Policy]:
        return self._replace(self.configured, {policy.name: policy for policy in policies})

    def match(self, object_type: str, name: str) -> Policy | None:
        for policy in self._ordered:
            if policy.matches(object_type, name):
                return policy
        return None

    def _replace(self, some: dict[str, Policy], by: dict[str, Policy]) -> list[Policy]:
        before = {**self.stored, **self.configured}
        some.clear()
        some.update(by)
        after = {**self.stored, **self.configured}
        self._ordered = sorted(after.values(), key=lambda policy: (-policy.priority, policy.name))
        names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
        return [policies[name] for policies in (before, after) for name in names if name in policies]
