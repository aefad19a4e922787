"""Policies: what they may say, which one counts, how it adds up with arguments, and that it counts at once.

The judge is naive: it looks at every policy for every queue, one after the other.
"""

import logging
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from flowmq.amqp.tables import Table
from flowmq.broker.broker import Broker
from flowmq.broker.policies import APPLY_TO, EXCHANGE, OPERATOR_POLICY, POLICY, Policy, PolicySet
from flowmq.broker.policy_keys import OPERATOR_KEYS, WITHOUT_EFFECT, PolicyError
from flowmq.broker.queues import DeclaredQueue
from flowmq.broker.settings import PLAIN_QUEUE, QueueSettings, queue_settings
from flowmq.broker.users import Users
from flowmq.broker.vhost import VHost
from flowmq.broker.vhost_policies import SHARED_MAX, VHostPolicies

TTL = {"message-ttl": 1000}
OWNER = object()


# ------------------------------------------------------------------------------------------------- what they may say

WRONG = [
    ({"name": ""}, "policy '': the name is empty"),
    ({"name": 5}, "policy 5: name must be a text"),
    ({"name": "\ud800"}, r"policy '\ud800': '\ud800' is not Unicode text"),
    ({"pattern": "("}, "policy 'p': pattern '(': missing )"),
    ({"pattern": None}, "policy 'p': pattern must be a text"),
    ({"pattern": "[[:beta:]]"}, "policy 'p': pattern '[[:beta:]]': invalid character class range"),
    ({"pattern": "a(?!b)"}, r"policy 'p': pattern 'a(?!b)': invalid perl operator: (?!: lookahead is taken at the"),
    ({"apply_to": "queue"}, "policy 'p': apply-to = 'queue': must be one of all, queues, classic_queues,"),
    ({"priority": "1"}, "policy 'p': priority = '1': must be an integer"),
    ({"priority": True}, "policy 'p': priority = True: must be an integer"),
    ({"priority": 2**63}, "policy 'p': priority = 9223372036854775808: must be an integer"),
    ({"definition": {}}, "policy 'p': the definition is empty"),
    ({"definition": [1]}, "policy 'p': the definition must be a table of keys and values"),
    ({"definition": {"message-tl": 1}}, "policy 'p': unknown key 'message-tl'; did you mean message-ttl?"),
    ({"definition": {"x": 1}}, "policy 'p': unknown key 'x'"),
    ({"definition": {"message-ttl": -1}}, "policy 'p': message-ttl = -1: must be an integer from 0 to 315360000000"),
    ({"definition": {"message-ttl": 315_360_000_001}}, "policy 'p': message-ttl = 315360000001: must be an integer"),
    ({"definition": {"message-ttl": "5"}}, "policy 'p': message-ttl = '5': must be an integer"),
    ({"definition": {"message-ttl": 5.0}}, "policy 'p': message-ttl = 5.0: must be an integer"),
    ({"definition": {"message-ttl": True}}, "policy 'p': message-ttl = True: must be an integer"),
    ({"definition": {"expires": 0}}, "policy 'p': expires = 0: must be an integer from 1 to"),
    ({"definition": {"max-length": -1}}, "policy 'p': max-length = -1: must be an integer of at least 0"),
    ({"definition": {"max-length": 2**63}}, "policy 'p': max-length = 9223372036854775808: must be an integer of"),
    ({"definition": {"max-length-bytes": -1}}, "policy 'p': max-length-bytes = -1: must be"),
    (
        {"definition": {"overflow": "reject"}},
        "policy 'p': overflow = 'reject': must be one of drop-head, reject-publish,",
    ),
    ({"definition": {"dead-letter-exchange": 1}}, "policy 'p': dead-letter-exchange = 1: must be a text"),
    ({"definition": {"dead-letter-routing-key": None}}, "policy 'p': dead-letter-routing-key = None: must be a text"),
    ({"definition": {"dead-letter-strategy": "never"}}, "policy 'p': dead-letter-strategy = 'never': must be one of"),
    ({"definition": {"delivery-limit": -2}}, "policy 'p': delivery-limit = -2: must be an integer of at least -1"),
    (
        {"definition": {"delayed-retry-type": "some"}},
        "policy 'p': delayed-retry-type = 'some': must be one of disabled,",
    ),
    ({"definition": {"delayed-retry-min": -1}}, "policy 'p': delayed-retry-min = -1: must be"),
    ({"definition": {"delayed-retry-max": -1}}, "policy 'p': delayed-retry-max = -1: must be"),
    ({"definition": {"consumer-timeout": 0}}, "policy 'p': consumer-timeout = 0: must be an integer from 1 to"),
    ({"definition": {"alternate-exchange": ["a"]}}, "policy 'p': alternate-exchange = ['a']: must be a text"),
    ({"definition": {"ha-params": [1]}}, "policy 'p': ha-params = [1]: must be a number, or a list of texts"),
    ({"definition": {"ha-params": ["\ud800"]}}, r"policy 'p': '\ud800' is not Unicode text"),
    (
        {"definition": {"dead-letter-exchange": "x"}, "operator": True},
        "operator policy 'p': dead-letter-exchange cannot be set by an operator policy, only expires, message-ttl,",
    ),
]


@pytest.mark.parametrize(("fields", "complaint"), WRONG)
def test_what_is_wrong_is_said_in_one_line(fields: dict[str, Any], complaint: str) -> None:
    with pytest.raises(PolicyError) as caught:
        Policy(**{"name": "p", "pattern": "", "definition": TTL, **fields})
    assert str(caught.value).startswith(complaint)
    assert "\n" not in str(caught.value)


def test_the_definition_is_the_policys_own() -> None:
    definition = dict(TTL)
    policy = Policy("p", "", definition)
    definition["message-ttl"] = 5
    assert policy.definition == TTL


# --------------------------------------------------------------------------------------------------- which one counts


@pytest.mark.parametrize(
    ("apply_to", "objects"),
    [
        ("all", {"classic", "quorum", "stream", EXCHANGE}),
        ("queues", {"classic", "quorum", "stream"}),
        ("classic_queues", {"classic"}),
        ("quorum_queues", {"quorum"}),
        ("streams", {"stream"}),
        ("exchanges", {EXCHANGE}),
    ],
)
def test_what_a_policy_applies_to(apply_to: str, objects: set[str]) -> None:
    policy = Policy("p", "a", TTL, apply_to=apply_to)
    assert {kind for kind in ("classic", "quorum", "stream", EXCHANGE) if policy.matches(kind, "cat")} == objects
    assert set(APPLY_TO) >= {apply_to}


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("", "anything", True),
        (".*", "", True),
        ("b", "abc", True),
        ("^b", "abc", False),
        (r"^jobs\.", "jobs.mail", True),
        (r"^jobs\.", "jobsXmail", False),
        ("^a$", "a", True),
        ("^a$", "ab", False),
        ("(?i)^A$", "a", True),
        ("é", "café", True),
    ],
)
def test_a_pattern_may_match_anywhere_in_a_name(pattern: str, name: str, matches: bool) -> None:
    assert Policy("p", pattern, TTL).matches("classic", name) is matches


def test_the_highest_priority_counts_then_the_first_name() -> None:
    policies = PolicySet()
    policies.put(Policy("b", "", TTL))
    policies.put(Policy("c", "", TTL, priority=-1))
    assert matched(policies) == "b"
    policies.put(Policy("a", "", TTL))
    assert matched(policies) == "a"
    policies.put(Policy("z", "^q", TTL, priority=5))
    assert matched(policies) == "z"
    policies.put(Policy("z", "^x", TTL, priority=5))
    assert matched(policies) == "a"
    policies.remove("a")
    policies.remove("b")
    assert matched(policies) == "c"
    policies.remove("c")
    assert matched(policies) is None


def matched(policies: PolicySet) -> str | None:
    policy = policies.match("classic", "q")
    return None if policy is None else policy.name


# ------------------------------------------------------------------------------------------------- how they add up

NUMBERS = {
    "message_ttl_ms": "message-ttl",
    "expires_ms": "expires",
    "max_length": "max-length",
    "max_length_bytes": "max-length-bytes",
    "delivery_limit": "delivery-limit",
    "delayed_retry_min_ms": "delayed-retry-min",
    "delayed_retry_max_ms": "delayed-retry-max",
    "consumer_timeout_ms": "consumer-timeout",
}
TEXTS = {
    "dead_letter_exchange": ("dead-letter-exchange", None),
    "dead_letter_routing_key": ("dead-letter-routing-key", None),
    "delayed_retry_type": ("delayed-retry-type", "disabled"),
}
VALUES: dict[str, st.SearchStrategy[Any]] = {
    **{key: st.integers(1, 4) for key in NUMBERS.values()},
    "delivery-limit": st.integers(-1, 3),
    "overflow": st.sampled_from(["drop-head", "reject-publish", "reject-publish-dlx"]),
    "dead-letter-exchange": st.sampled_from(["", "dlx", "other"]),
    "dead-letter-routing-key": st.sampled_from(["", "key"]),
    "delayed-retry-type": st.sampled_from(["disabled", "all", "failed", "returned"]),
}
ARGUMENTS_ALONE: dict[str, tuple[str, Any, st.SearchStrategy[Any]]] = {
    "max_priority": ("x-max-priority", None, st.integers(0, 255)),
    "single_active_consumer": ("x-single-active-consumer", False, st.booleans()),
    "queue_type": ("x-queue-type", "classic", st.sampled_from(["classic", "quorum"])),
    "deduplication": ("x-message-deduplication", False, st.booleans()),
    "deduplication_cache_size": ("x-cache-size", None, st.integers(1, 5)),
    "deduplication_cache_ttl_ms": ("x-cache-ttl", None, st.integers(1, 5)),
    "deduplication_header": ("x-deduplication-header", None, st.sampled_from(["a", "b"])),
}
DEFINITIONS = st.fixed_dictionaries({}, optional=VALUES)
OPERATOR_DEFINITIONS = st.fixed_dictionaries(
    {}, optional={key: values for key, values in VALUES.items() if key in OPERATOR_KEYS}
)
ARGUMENTS = st.fixed_dictionaries(
    {},
    optional={
        **{f"x-{key}": values for key, values in VALUES.items()},
        **{argument: values for argument, _, values in ARGUMENTS_ALONE.values()},
    },
)


def naively_merged(arguments: dict[str, Any], policy: dict[str, Any], operator_policy: dict[str, Any]) -> QueueSettings:
    expected: dict[str, Any] = {}
    for field, key in NUMBERS.items():
        said = [source[name] for source, name in sources(arguments, policy, operator_policy, key) if name in source]
        limits = [value for value in said if value >= 0]
        expected[field] = min(limits) if limits else None
    for field, (key, default) in TEXTS.items():
        expected[field] = arguments[f"x-{key}"] if f"x-{key}" in arguments else policy.get(key, default)
    expected["overflow"] = "drop-head"
    if "overflow" in policy:
        expected["overflow"] = policy["overflow"]
    if "x-overflow" in arguments:
        expected["overflow"] = arguments["x-overflow"]
    if "overflow" in operator_policy:
        expected["overflow"] = operator_policy["overflow"]
    for field, (argument, default, _) in ARGUMENTS_ALONE.items():
        expected[field] = arguments.get(argument, default)
    return QueueSettings(**expected)


def sources(
    arguments: dict[str, Any], policy: dict[str, Any], operator_policy: dict[str, Any], key: str
) -> list[tuple[dict[str, Any], str]]:
    return [(arguments, f"x-{key}"), (policy, key), (operator_policy, key)]


@given(arguments=ARGUMENTS, policy=DEFINITIONS, operator_policy=OPERATOR_DEFINITIONS)
@settings(max_examples=300)
def test_arguments_and_policies_add_up(
    arguments: dict[str, Any], policy: dict[str, Any], operator_policy: dict[str, Any]
) -> None:
    expected = naively_merged(arguments, policy, operator_policy)
    assert queue_settings(Table(arguments), policy, operator_policy) == expected
    assert queue_settings(Table(arguments), policy or None, operator_policy or None) == expected


def test_without_anything_a_queue_is_plain() -> None:
    assert queue_settings(Table(), None, None) is PLAIN_QUEUE
    assert naively_merged({}, {}, {}) == PLAIN_QUEUE


# ------------------------------------------------------------------------------------- at once, and whatever happens

NAMES = ["a", "ab", "b", "jobs.a", "jobs.b"]
PATTERNS = ["", "^a", "b$", r"^jobs\.", "nothing"]


class Policing(RuleBasedStateMachine):
    """Queues and policies come, change and go; every queue always does what a look at all policies says."""

    def __init__(self) -> None:
        super().__init__()
        self.broker = Broker(Users([], default_user_loopback_only=True))
        self.vhost = self.broker.vhost("/")
        self.policies: dict[tuple[bool, str], Policy] = {}
        self.configured: dict[tuple[bool, str], Policy] = {}

    @rule(name=st.sampled_from(NAMES), arguments=st.just({}) | ARGUMENTS)
    def declare(self, name: str, arguments: dict[str, Any]) -> None:
        arguments.pop("x-dead-letter-routing-key", None)
        if name not in self.vhost.queues:
            self.vhost.declare_queue(name, OWNER, durable=True, arguments=Table(arguments))

    @rule(name=st.sampled_from(NAMES))
    def delete(self, name: str) -> None:
        if name in self.vhost.queues:
            self.vhost.delete_queue(self.vhost.queues[name])

    @rule(policy=st.deferred(lambda: POLICIES))
    def set(self, policy: Policy) -> None:
        if (policy.operator, policy.name) in self.configured:
            with pytest.raises(PolicyError, match="is set by the configuration file"):
                self.vhost.policies.set(policy)
            return
        self.vhost.policies.set(policy)
        self.policies[policy.operator, policy.name] = policy

    @rule(name=st.sampled_from("pqr"), operator=st.booleans())
    def clear(self, name: str, operator: bool) -> None:
        kind = OPERATOR_POLICY if operator else POLICY
        if (operator, name) not in self.configured:
            known = self.policies.pop((operator, name), None) is not None
            assert self.vhost.policies.delete(name, kind) is known

    @rule(policies=st.lists(st.deferred(lambda: POLICIES), max_size=2, unique_by=lambda p: (p.operator, p.name)))
    def configure(self, policies: list[Policy]) -> None:
        before = self.configured
        self.configured = {(policy.operator, policy.name): policy for policy in policies}
        names = {name for name in before | self.configured if before.get(name) != self.configured.get(name)}
        assert len(self.broker.configure_policies(policies)) == len(names)

    @invariant()
    def every_queue_does_what_a_look_at_all_policies_says(self) -> None:
        in_force = list({**self.policies, **self.configured}.values())
        for queue in self.vhost.queues.values():
            definitions = []
            for operator in (False, True):
                kind = str(queue.arguments.get("x-queue-type", "classic"))
                matching = [
                    policy
                    for policy in in_force
                    if policy.operator is operator
                    and policy.apply_to in ("all", "queues", f"{kind}_queues")
                    and re.search(policy.pattern, queue.name)
                ]
                best = sorted(matching, key=lambda policy: (-policy.priority, policy.name))[:1]
                definitions.append(dict(best[0].definition) if best else {})
            assert queue.settings == naively_merged(queue.arguments, *definitions), queue.name

    @invariant()
    def what_is_in_force_is_listed(self) -> None:
        for kind in (POLICY, OPERATOR_POLICY):
            listed = {(policy.operator, policy.name): policy for policy in self.vhost.policies.in_force(kind)}
            expected = {**self.policies, **self.configured}
            assert listed == {key: policy for key, policy in expected.items() if policy.kind == kind}


def policies_with(definitions: st.SearchStrategy[dict[str, Any]], *, operator: bool) -> st.SearchStrategy[Policy]:
    return st.builds(
        Policy,
        name=st.sampled_from("pqr"),
        pattern=st.sampled_from(PATTERNS),
        definition=definitions.filter(bool),
        apply_to=st.sampled_from(list(APPLY_TO)),
        priority=st.integers(-1, 1),
        operator=st.just(operator),
    )


POLICIES = policies_with(DEFINITIONS, operator=False) | policies_with(OPERATOR_DEFINITIONS, operator=True)
TestPolicing = Policing.TestCase
TestPolicing.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


@pytest.fixture
def vhost() -> VHost:
    return VHost("/")


@pytest.fixture
def applied(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the queues that were told of new settings."""
    names: list[str] = []
    apply = DeclaredQueue.apply

    def recorded(queue: DeclaredQueue, settings: QueueSettings) -> None:
        names.append(queue.name)
        apply(queue, settings)

    monkeypatch.setattr(DeclaredQueue, "apply", recorded)
    return names


def test_queues_are_told_only_of_what_changes_for_them(vhost: VHost, applied: list[str]) -> None:
    for name in ("a", "b", "jobs.a"):
        vhost.declare_queue(name, OWNER)
    applied.clear()
    policy = Policy("p", "^jobs", TTL)
    vhost.policies.set(policy)
    assert applied == ["jobs.a"]
    vhost.policies.set(Policy("p", "^jobs", TTL))
    vhost.policies.set(Policy("weaker", "^jobs", {"max-length": 1}, priority=-1))
    vhost.policies.set(replace(policy, pattern="^jobs."))
    assert applied == ["jobs.a"]
    vhost.policies.set(replace(policy, pattern="^a"))
    assert applied == ["jobs.a", "a", "jobs.a"]
    assert vhost.queues["jobs.a"].settings.max_length == 1


def test_only_queues_that_a_pattern_matches_are_looked_at(vhost: VHost, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(1000):
        vhost.declare_queue(f"q.{number}", OWNER)
    looked_at: list[str] = []
    computed = VHostPolicies.queue_settings

    def recorded(policies: VHostPolicies, name: str, arguments: Table) -> QueueSettings:
        looked_at.append(name)
        return computed(policies, name, arguments)

    monkeypatch.setattr(VHostPolicies, "queue_settings", recorded)
    vhost.policies.set(Policy("p", r"^q\.5.$", TTL))
    assert looked_at == [f"q.5{digit}" for digit in range(10)]
    vhost.policies.set(Policy("p", r"^q\.7$", TTL))
    assert sorted(looked_at[10:]) == sorted([f"q.5{digit}" for digit in range(10)] + ["q.7"])


def test_queues_of_the_same_policy_and_arguments_share_their_settings(vhost: VHost) -> None:
    vhost.policies.set(Policy("p", "", TTL))
    for arguments in ({}, {"x-max-length": 5, "x-unknown": [1], "x-member-placement-tag": [2]}):
        first, second = (
            vhost.declare_queue(f"{name}-{len(arguments)}", OWNER, arguments=Table(arguments)) for name in "ab"
        )
        assert first.settings is second.settings
    assert first.settings.max_length == 5
    vhost.policies.delete("p")
    assert first.settings == QueueSettings(max_length=5)


def test_many_sets_of_arguments_are_not_all_remembered(vhost: VHost) -> None:
    for length in range(2500):
        declared = vhost.declare_queue("q", OWNER, arguments=Table({"x-max-length": length}))
        assert declared.settings.max_length == length
        vhost.delete_queue(declared)
    assert len(vhost.policies._shared) <= SHARED_MAX


def test_a_policy_is_set_in_its_own_virtual_host(vhost: VHost) -> None:
    with pytest.raises(PolicyError, match="policy 'p' in vhost 'elsewhere' is not for vhost '/'"):
        vhost.policies.set(Policy("p", "", TTL, vhost="elsewhere"))


def test_keys_without_effect_are_taken_with_one_warning(vhost: VHost, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "flowmq"):
        vhost.policies.set(Policy("p", "", {"ha-mode": "exactly", "ha-params": 2, "message-ttl": 5}))
        vhost.policies.set(Policy("p", "", {"ha-mode": "exactly", "ha-params": 2, "message-ttl": 5}))
        vhost.policies.set(Policy("q", "", {"message-ttl": 5, "dead-letter-strategy": "at-least-once"}))
    assert [record.getMessage() for record in caplog.records] == [
        "policy 'p' in vhost '/': without effect here: ha-mode, ha-params"
    ]
    assert vhost.declare_queue("a", OWNER).settings.message_ttl_ms == 5


def test_every_key_that_needs_other_brokers_is_known() -> None:
    assert {"ha-mode", "ha-params", "ha-sync-mode", "federation-upstream", "federation-upstream-set"} <= set(
        WITHOUT_EFFECT
    )


# --------------------------------------------------------------------------------------------------------- exchanges

ALTERNATE = Policy("p", "^orders", {"alternate-exchange": "unrouted"}, apply_to="exchanges")


def unroutable_goes_to(vhost: VHost, exchange: str) -> list[bytes]:
    return [queue.name for queue in vhost.exchange(exchange).exchange.routes(b"nobody asks for this")]


@pytest.fixture
def orders(vhost: VHost) -> VHost:
    vhost.declare_exchange("orders", "direct")
    vhost.declare_exchange("unrouted", "fanout")
    vhost.bind_queue(vhost.declare_queue("found", OWNER), "unrouted", "", Table())
    return vhost


def test_an_alternate_exchange_by_policy_comes_and_goes_at_once(orders: VHost) -> None:
    assert unroutable_goes_to(orders, "orders") == []
    orders.policies.set(ALTERNATE)
    assert unroutable_goes_to(orders, "orders") == [b"found"]
    orders.policies.set(replace(ALTERNATE, definition={"alternate-exchange": "nowhere"}))
    assert unroutable_goes_to(orders, "orders") == []
    orders.policies.set(ALTERNATE)
    assert orders.policies.delete("p")
    assert unroutable_goes_to(orders, "orders") == []


def test_an_alternate_exchange_by_policy_counts_for_what_is_declared_later(vhost: VHost) -> None:
    vhost.policies.set(ALTERNATE)
    vhost.declare_exchange("orders", "direct")
    assert unroutable_goes_to(vhost, "orders") == []
    vhost.declare_exchange("unrouted", "fanout")
    vhost.bind_queue(vhost.declare_queue("found", OWNER), "unrouted", "", Table())
    assert unroutable_goes_to(vhost, "orders") == [b"found"]
    vhost.delete_exchange("unrouted")
    assert unroutable_goes_to(vhost, "orders") == []


def test_an_alternate_exchange_by_argument_wins(orders: VHost) -> None:
    orders.declare_exchange("other", "fanout")
    orders.bind_queue(orders.declare_queue("kept", OWNER), "other", "", Table())
    orders.declare_exchange("orders.2", "direct", arguments=Table({"alternate-exchange": "other"}))
    orders.policies.set(ALTERNATE)
    assert unroutable_goes_to(orders, "orders.2") == [b"kept"]
    orders.policies.delete("p")
    assert unroutable_goes_to(orders, "orders.2") == [b"kept"]


def test_an_alternate_exchange_for_everything_is_no_endless_circle(orders: VHost) -> None:
    orders.policies.set(replace(ALTERNATE, pattern="", definition={"alternate-exchange": "orders"}))
    assert unroutable_goes_to(orders, "orders") == []
    assert unroutable_goes_to(orders, "amq.direct") == []
    orders.policies.set(replace(ALTERNATE, pattern=""))
    assert unroutable_goes_to(orders, "amq.direct") == [b"found"]


def test_the_default_exchange_is_as_it_is(orders: VHost) -> None:
    orders.policies.set(replace(ALTERNATE, pattern=""))
    assert unroutable_goes_to(orders, "") == []


def test_a_policy_for_queues_is_not_for_exchanges(orders: VHost) -> None:
    orders.policies.set(replace(ALTERNATE, apply_to="queues"))
    assert unroutable_goes_to(orders, "orders") == []


def test_a_policy_for_another_virtual_host_is_refused() -> None:
    broker = Broker(Users([], default_user_loopback_only=True))
    with pytest.raises(PolicyError, match="policy 'p' in vhost 'elsewhere': there is no such vhost"):
        broker.configure_policies([Policy("p", "", TTL, vhost="elsewhere")])


# ----------------------------------------------------------------------------------------- many queues, step by step

QUEUES = 1000


class Stepwise:
    """A virtual host whose work is done when the test says so."""

    def __init__(self) -> None:
        self.works: list[Iterator[None]] = []
        self.vhost = VHost("/", begin=self.works.append)
        for number in range(QUEUES):
            self.vhost.declare_queue(f"q{number}", OWNER)

    def set(self, name: str = "p", pattern: str = "^q", **definition: Any) -> None:
        definition = {key.replace("_", "-"): value for key, value in definition.items()}
        self.vhost.policies.set(Policy(name, pattern, definition, priority=len(name)))

    def finish(self) -> None:
        for work in self.works:
            for _ in work:
                pass
        assert not self.vhost.policies.unfinished
        for queue in self.vhost.queues.values():
            policy = self.vhost.policies.of_queue(queue.name, "classic")[0]
            assert queue.settings == queue_settings(Table(), policy.definition if policy else None, None)

    def limits(self) -> list[int | None]:
        return [queue.settings.max_length for queue in self.vhost.queues.values()]


def test_a_policy_comes_to_many_queues_step_by_step_and_to_new_ones_at_once() -> None:
    stepwise = Stepwise()
    stepwise.set(max_length=5)
    done = stepwise.limits().count(5)
    assert 0 < done < QUEUES
    assert stepwise.limits() == [5] * done + [None] * (QUEUES - done)
    stepwise.vhost.declare_queue("q-new", OWNER)
    assert stepwise.limits()[-1] == 5
    next(stepwise.works[0])
    assert done < stepwise.limits().count(5) - 1 < QUEUES
    stepwise.finish()


def test_changes_that_overlap_end_as_if_one_had_come_after_the_other() -> None:
    stepwise = Stepwise()
    stepwise.set(max_length=5)
    next(stepwise.works[0])
    stepwise.set("stronger", "[02468]$", max_length=7)
    next(stepwise.works[0])
    stepwise.vhost.policies.delete("p")
    assert len(stepwise.works) == 1
    stepwise.finish()
    assert set(stepwise.limits()) == {None, 7}


def test_queues_that_go_meanwhile_and_come_again() -> None:
    stepwise = Stepwise()
    stepwise.set(max_length=5)
    for number in range(QUEUES // 2, QUEUES):
        stepwise.vhost.delete_queue(stepwise.vhost.queues[f"q{number}"])
    again = stepwise.vhost.declare_queue(f"q{QUEUES - 1}", OWNER)
    stepwise.finish()
    assert again.settings.max_length == 5
    assert len(stepwise.limits()) == QUEUES // 2 + 1


def test_a_virtual_host_that_goes_meanwhile() -> None:
    stepwise = Stepwise()
    stepwise.set(max_length=5)
    stepwise.vhost.policies.delete_all()
    assert list(stepwise.works[0]) == []


def test_a_thousand_queues_of_one_policy_share_their_rules() -> None:
    stepwise = Stepwise()
    stepwise.set(max_length=5, dead_letter_exchange="dead")
    stepwise.finish()
    assert len({id(queue.queue.rules) for queue in stepwise.vhost.queues.values()}) == 1
    # But for those that keep what fails too often in a queue of their own.
    stepwise.set(delivery_limit=5)
    stepwise.finish()
    assert len({id(queue.queue.rules) for queue in stepwise.vhost.queues.values()}) == QUEUES
