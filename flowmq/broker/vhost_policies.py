"""The policies of a virtual host, and how they get to its queues and exchanges: to those they match.

What is declared from now on follows a change at once. What is there already does so in its turn: the first few at once,
the others step by step, in the order in which they were declared. Each is given what all policies say at that moment,
so that changes which overlap end in the same state as if one had come after the other.

Policies set here are durable; those of the configuration file come from there at every start, and win over others of
the same name.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from flowmq.amqp.tables import Table
from flowmq.broker.arguments import queue_type
from flowmq.broker.policies import EXCHANGE, EXCHANGES_ONLY, OPERATOR_POLICY, POLICY, Policy, PolicySet
from flowmq.broker.policy_keys import PolicyError, keys_without_effect
from flowmq.broker.settings import (
    PLAIN_QUEUE,
    QUEUE_SOURCES,
    Definition,
    ExchangeSettings,
    QueueSettings,
    exchange_settings,
    queue_settings,
)
from flowmq.broker.steps import begin_at_once

if TYPE_CHECKING:
    from flowmq.broker.exchanges import DeclaredExchange
    from flowmq.broker.queues import DeclaredQueue
    from flowmq.broker.vhost import VHost

SHARED_MAX = 1000
STEP_NAMES = 20  # to be compared, and perhaps changed
MERGED_ARGUMENTS = frozenset(source.argument for source in QUEUE_SOURCES.values())
log = logging.getLogger("flowmq")


class VHostPolicies:
    def __init__(self, vhost: "VHost", begin: Callable[[Iterator[None]], None]) -> None:
        self.vhost = vhost
        self.begin = begin
        self.unfinished: list[Iterator[None]] = []  # changes that have not come to everything yet, the oldest first
        self.sets = {POLICY: PolicySet(), OPERATOR_POLICY: PolicySet()}
        self.refused: set[tuple[str, str]] = set()  # kinds and names of those that a restart found and could not take
        # By the names of their policies and their arguments: most queues are to do the same.
        self._shared: dict[tuple[str | None, str | None, tuple[tuple[str, object], ...]], QueueSettings] = {}

    # ---------------------------------------------------------------------------------------------- what is in force

    def in_force(self, kind: str = POLICY) -> list[Policy]:
        return list(self.sets[kind])

    def get(self, name: str, kind: str = POLICY) -> Policy | None:
        return self.sets[kind].get(name)

    def of_queue(self, name: str, type: str) -> tuple[Policy | None, Policy | None]:
        """The policy and the operator policy that count for it."""
        return self.sets[POLICY].match(type, name), self.sets[OPERATOR_POLICY].match(type, name)

    def of_exchange(self, name: str) -> Policy | None:
        """The default exchange is as it is. No key of operator policies is about exchanges."""
        return self.sets[POLICY].match(EXCHANGE, name) if name else None

    def queue_settings(self, name: str, arguments: Table) -> QueueSettings:
        policy, operator_policy = self.of_queue(name, queue_type(arguments))
        if policy is None and operator_policy is None and not arguments:
            return PLAIN_QUEUE
        given = tuple((name, arguments[name]) for name in arguments if name in MERGED_ARGUMENTS)
        key = (policy.name if policy else None, operator_policy.name if operator_policy else None, given)
        settings = self._shared.get(key)
        if settings is None:
            settings = queue_settings(arguments, definition_of(policy), definition_of(operator_policy))
            if len(self._shared) >= SHARED_MAX:
                self._shared.clear()
            self._shared[key] = settings
        return settings

    def exchange_settings(self, name: str, arguments: Table) -> ExchangeSettings:
        return exchange_settings(arguments, definition_of(self.of_exchange(name)))

    # ------------------------------------------------------------------------------------------------------- changes

    def set(self, policy: Policy) -> None:
        """Add it, or replace the one of its name. Durable once the definitions are on disk."""
        if policy.vhost != self.vhost.name:
            raise PolicyError(f"{policy.where} is not for vhost '{self.vhost.name}'")
        policies = self.sets[policy.kind]
        self._check_not_configured(policies, policy.name)
        if policies.stored.get(policy.name) == policy:
            return
        self.vhost.definitions.policy_set(policy)
        self.refused.discard((policy.kind, policy.name))
        self._changed(policies.put(policy))
        warn_without_effect(policy)

    def delete(self, name: str, kind: str = POLICY) -> bool:
        """False when there is none of that name."""
        policies = self.sets[kind]
        self._check_not_configured(policies, name)
        if (kind, name) in self.refused:
            self.refused.discard((kind, name))
            self.vhost.definitions.delete(kind, (self.vhost.name, name))
            return True
        policy = policies.stored.get(name)
        if policy is None:
            return False
        self.vhost.definitions.policy_deleted(policy)
        self._changed(policies.remove(name))
        return True

    def delete_all(self) -> None:
        """Of those set here; with the virtual host, so that nothing needs to be applied anew."""
        self.unfinished.clear()
        for policies in self.sets.values():
            for policy in list(policies.stored.values()):
                self.vhost.definitions.policy_deleted(policy)
                policies.remove(policy.name)

    def first_configured(self) -> Policy | None:
        """One that the configuration file says, if it says any."""
        return next((policy for policies in self.sets.values() for policy in policies.configured.values()), None)

    def restore(self, kind: str, name: str, value: dict[str, Any]) -> None:
        """One that was set before a restart. What an earlier version took and this one refuses stops no start."""
        try:
            policy = Policy(name, vhost=self.vhost.name, operator=kind == OPERATOR_POLICY, **value)
        except PolicyError as error:
            self.refused.add((kind, name))
            log.error("in vhost '%s', without effect until it is set anew: %s", self.vhost.name, error)
        else:
            self._changed(self.sets[kind].put(policy))

    def configure(self, policies: Iterable[Policy]) -> list[str]:
        """These, of either kind, are what the configuration file says now; returns what changed, a line each."""
        given = list(policies)
        before = self._configured()
        changed = [
            policy
            for kind, policy_set in self.sets.items()
            for policy in policy_set.configure(policy for policy in given if policy.kind == kind)
        ]
        self._changed(changed)
        return list(differences(before, self._configured()))

    def _configured(self) -> dict[str, Policy]:
        return {policy.where: policy for policies in self.sets.values() for policy in policies.configured.values()}

    def _check_not_configured(self, policies: PolicySet, name: str) -> None:
        if name in policies.configured:
            raise PolicyError(f"{policies.configured[name].where} is set by the configuration file: change it there")

    def _changed(self, changed: list[Policy]) -> None:
        """Only what a policy matched that came or went can be another one's now."""
        if not changed:
            return
        self._shared.clear()
        self.unfinished.append(self._apply(changed))
        if len(self.unfinished) == 1:
            begin_at_once(self.finish(), self.begin)

    def finish(self) -> Iterator[None]:
        """Bit by bit, until no change is unfinished; whoever else does the same takes a part of it."""
        while self.unfinished:
            change = self.unfinished[0]
            try:
                is_over = next(change, self) is self
            except Exception as error:
                # Those behind it come to everything all the same.
                log.error("vhost '%s': policies: internal error", self.vhost.name, exc_info=error)
                is_over = True
            if is_over:
                self.unfinished.pop(0)
            else:
                yield

    def _apply(self, changed: list[Policy]) -> Iterator[None]:
        policies = [policy for policy in changed if policy.objects != EXCHANGES_ONLY]
        # Taken one by one, so that those deleted meanwhile are not all let go of together.
        queues = list(self.vhost.queues.values())[::-1] if policies else []
        while queues:
            self._apply_to_queues(policies, queues[: -STEP_NAMES - 1 : -1])
            del queues[-STEP_NAMES:]
            yield
        exchanges = list(self.vhost.declared_exchanges.values())[::-1]
        while exchanges:
            self._apply_to_exchanges(changed, exchanges[: -STEP_NAMES - 1 : -1])
            del exchanges[-STEP_NAMES:]
            yield

    def _apply_to_queues(self, changed: list[Policy], queues: list["DeclaredQueue"]) -> None:
        for queue in queues:
            if self.vhost.queues.get(queue.name) is not queue:
                continue
            if any(policy.matches(queue.settings.queue_type, queue.name) for policy in changed):
                settings = self.queue_settings(queue.name, queue.arguments)
                if settings != queue.settings:
                    queue.apply(settings)

    def _apply_to_exchanges(self, changed: list[Policy], exchanges: list["DeclaredExchange"]) -> None:
        for exchange in exchanges:
            if self.vhost.declared_exchanges.get(exchange.name) is not exchange:
                continue
            if any(policy.matches(EXCHANGE, exchange.name) for policy in changed):
                settings = self.exchange_settings(exchange.name, exchange.arguments)
                if settings != exchange.settings:
                    self.vhost.apply_to_exchange(exchange, settings)


def definition_of(policy: Policy | None) -> Definition | None:
    return None if policy is None else policy.definition


def differences(before: dict[str, Policy], after: dict[str, Policy]) -> Iterator[str]:
    for where, policy in after.items():
        if before.get(where) != policy:
            warn_without_effect(policy)
            yield f"{where} {'changed' if where in before else 'added'}"
    yield from (f"{where} removed" for where in before if where not in after)


def warn_without_effect(policy: Policy) -> None:
    names = keys_without_effect(policy.definition)
    if names:
        log.warning("%s: without effect here: %s", policy.where, ", ".join(names))
