"""Policies that were set at run time are there after a restart; those of the configuration file come from the file."""

from pathlib import Path

import pytest

from flowmq.broker.passwords import Password
from flowmq.broker.policies import OPERATOR_POLICY, POLICY, Policy
from flowmq.broker.policy_keys import PolicyError
from flowmq.broker.users import PERMISSION
from flowmq.broker.vhost_policies import VHostPolicies
from flowmq.storage.layout import DataDir
from tests.crash.power_cut import DurablePlane

SEGMENT_BYTES = 65536
STRANGER = Password("sha256", "")
RETRY = Policy("retry é", r"^jobs\.", {"message-ttl": 1000, "dead-letter-exchange": ""}, apply_to="queues", priority=-7)
BOUNDS = Policy("bounds", "", {"max-length": 5, "overflow": "reject-publish"}, operator=True)
UNROUTED = Policy("unrouted", "^orders$", {"alternate-exchange": "amq.fanout"})


def policies_of(plane: DurablePlane) -> VHostPolicies:
    return plane.node.broker.vhost("/").policies


def segments(path: Path) -> list[int]:
    with DataDir(path) as directory:
        return [file.number for file in directory.segments()]


def listed(plane: DurablePlane) -> list[Policy]:
    return [*policies_of(plane).in_force(POLICY), *policies_of(plane).in_force(OPERATOR_POLICY)]


def test_policies_outlive_the_process_and_count_from_the_start(tmp_path: Path) -> None:
    with DurablePlane(tmp_path, SEGMENT_BYTES) as plane:
        vhost = plane.node.broker.vhost("/")
        vhost.declare_queue("jobs.mail", None, durable=True)
        vhost.declare_exchange("orders", "direct", durable=True)
        for policy in (RETRY, BOUNDS, UNROUTED):
            vhost.policies.set(policy)
        expected = vhost.queues["jobs.mail"].settings
        plane.settle()
    with DurablePlane(tmp_path, SEGMENT_BYTES) as plane:
        vhost = plane.node.broker.vhost("/")
        assert listed(plane) == [UNROUTED, RETRY, BOUNDS]
        assert vhost.queues["jobs.mail"].settings == expected
        assert (expected.message_ttl_ms, expected.max_length, expected.overflow) == (1000, 5, "reject-publish")
        assert vhost.exchange("orders").exchange.alternate is vhost.exchange("amq.fanout").exchange


def test_what_was_changed_or_deleted_stays_so(tmp_path: Path) -> None:
    changed = Policy("bounds", "", {"max-length": 6}, operator=True)
    same_name = Policy("bounds", "", {"max-length": 7})
    with DurablePlane(tmp_path, SEGMENT_BYTES) as plane:
        for policy in (RETRY, BOUNDS, same_name, changed):
            policies_of(plane).set(policy)
        assert policies_of(plane).delete("retry é")
        assert not policies_of(plane).delete("retry é")
        plane.settle()
    with DurablePlane(tmp_path, SEGMENT_BYTES) as plane:
        assert listed(plane) == [same_name, changed]
        assert policies_of(plane).delete("bounds", OPERATOR_POLICY)
        plane.settle()
    with DurablePlane(tmp_path, SEGMENT_BYTES) as plane:
        assert listed(plane) == [same_name]


def test_policies_outlive_the_segment_they_were_written_to(tmp_path: Path) -> None:
    with DurablePlane(tmp_path, SEGMENT_BYTES) as plane:
        policies_of(plane).set(RETRY)
        [first] = segments(tmp_path)
        for number in range(3000):
            policies_of(plane).set(Policy("bounds", "", {"max-length": number}, operator=True))
            plane.journal.submit()
        plane.settle()
        while plane.store.compaction.maintain():
            plane.settle()
        assert first not in segments(tmp_path)
    with DurablePlane(tmp_path, SEGMENT_BYTES) as plane:
        assert listed(plane) == [RETRY, Policy("bounds", "", {"max-length": 2999}, operator=True)]


def test_policies_of_the_file_are_not_kept(tmp_path: Path) -> None:
    stored = Policy("bounds", "", {"max-length": 1}, operator=True)
    with DurablePlane(tmp_path, SEGMENT_BYTES) as plane:
        policies_of(plane).set(stored)
        plane.node.broker.configure_policies([BOUNDS, RETRY])
        assert listed(plane) == [RETRY, BOUNDS]
        with pytest.raises(PolicyError, match="is set by the configuration file: change it there"):
            policies_of(plane).delete("bounds", OPERATOR_POLICY)
        plane.settle()
    with DurablePlane(tmp_path, SEGMENT_BYTES) as plane:
        assert listed(plane) == [stored]


def test_what_is_refused_by_now_stops_no_start(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A pattern that an earlier version took and RE2 does not know."""
    record = {**RETRY.as_record(), "pattern": r"a(?!b)"}
    with DurablePlane(tmp_path, SEGMENT_BYTES) as plane:
        for name in ("cleared", "set anew"):
            plane.store.put(POLICY, ("/", name), record)
        policies_of(plane).set(BOUNDS)
        plane.settle()
    for _ in range(2):
        caplog.clear()
        with DurablePlane(tmp_path, SEGMENT_BYTES) as plane:
            assert listed(plane) == [BOUNDS]
            told = [text for text in caplog.messages if "without effect until it is set anew: policy " in text]
            assert len(told) == 2
    with DurablePlane(tmp_path, SEGMENT_BYTES) as plane:
        anew = Policy("set anew", "^jobs", {"max-length": 3})
        policies_of(plane).set(anew)
        assert policies_of(plane).delete("cleared")
        assert not policies_of(plane).delete("cleared")
        plane.settle()
    caplog.clear()
    with DurablePlane(tmp_path, SEGMENT_BYTES) as plane:
        assert listed(plane) == [anew, BOUNDS]
    assert not [text for text in caplog.messages if "without effect" in text]


def test_permissions_that_are_refused_by_now_allow_nothing_and_can_be_cleared(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    refused = r"a(?!b)"
    with DurablePlane(tmp_path, SEGMENT_BYTES) as plane:
        for name in ("left", "cleared"):
            plane.node.broker.users.add(name, STRANGER)
            plane.store.put(PERMISSION, ("/", name), [refused, ".*", ".*"])
        plane.settle()
    with DurablePlane(tmp_path, SEGMENT_BYTES) as plane:
        users = plane.node.broker.users
        assert [users.user(name).permissions for name in ("left", "cleared")] == [{}, {}]
        users.clear_permission("cleared", "/")
        plane.settle()
    caplog.clear()
    with DurablePlane(tmp_path, SEGMENT_BYTES):
        [told] = [text for text in caplog.messages if "not what they were" in text]
        assert "'left'" in told
