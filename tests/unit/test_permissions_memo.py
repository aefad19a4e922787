"""What a connection remembers of permissions never differs from what a look at them says.

Publishes to exchanges and keys in any order, whole or cut in two, while permissions and topic permissions change; a
judge that remembers nothing says what must be refused.
"""

import re

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from flowmq.broker.permissions import Permission, TopicPermission
from tests.support import codec
from tests.unit.support_plane import Plane, publish_frames

EXCHANGES = ["", "amq.topic", "amq.fanout", "amq.direct", "amq.headers"]
KEYS = ["a", "b", "guest.a"]
PATTERNS = ["", ".*", "^amq", "default", "fanout|topic", "^amq.topic$"]
TOPIC_PATTERNS = ["", ".*", "^a$", r"^{username}\.", "b"]


def found(pattern: str, name: str) -> bool:
    return bool(pattern) and re.search(pattern.replace("{username}", "guest"), name) is not None


class Publishing(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.plane = Plane()
        self.plane.__enter__()
        self.broker = self.plane.node.broker
        self.client = self.plane.client(1)
        self.write = ".*"
        self.topics: dict[str, str] = {}

    def teardown(self) -> None:
        self.plane.__exit__(None, None, None)

    def allowed(self, exchange: str, keys: list[str]) -> bool:
        if not found(self.write, exchange or "amq.default"):
            return False
        pattern = self.topics.get(exchange)
        return exchange != "amq.topic" or pattern is None or all(found(pattern, key) for key in keys)

    @rule(pattern=st.sampled_from(PATTERNS))
    def permit(self, pattern: str) -> None:
        self.write = pattern
        self.broker.set_permission("guest", "/", Permission(".*", pattern, ".*"))

    @rule(exchange=st.sampled_from(EXCHANGES[1:3]), pattern=st.none() | st.sampled_from(TOPIC_PATTERNS))
    def permit_topics(self, exchange: str, pattern: str | None) -> None:
        if pattern is None:
            self.topics.pop(exchange, None)
            self.broker.clear_topic_permissions("guest", "/", exchange)
        else:
            self.topics[exchange] = pattern
            self.broker.set_topic_permission("guest", "/", exchange, TopicPermission(pattern, ""))

    @rule(
        exchange=st.sampled_from(EXCHANGES),
        key=st.sampled_from(KEYS),
        further=st.none() | st.sampled_from(KEYS),
        pattern=st.none() | st.sampled_from(PATTERNS),
    )
    def publish(self, exchange: str, key: str, further: str | None, pattern: str | None) -> None:
        """With a pattern: the permission changes to it between the method and the header."""
        properties = None if further is None else {"headers": {"CC": [further]}}
        frames = publish_frames(1, key, b"x", properties, exchange=exchange)
        method_bytes = len(codec.method_frame(1, "basic.publish", exchange=exchange, routing_key=key))
        self.client.feed(frames[:method_bytes])
        if pattern is not None:
            self.permit(pattern)
        self.client.feed(frames[method_bytes:])
        self.client.feed(codec.method_frame(1, "basic.qos", prefetch_count=0))
        answer = self.client.received()[-1]
        keys = [key] if further is None else [key, further]
        assert (answer.name == "basic.qos-ok") is self.allowed(exchange, keys), str(answer)
        if answer.name == "channel.close":
            assert answer.reply_code == 403
            self.client.feed(codec.method_frame(1, "channel.close-ok") + codec.method_frame(1, "channel.open"))
            assert self.client.received()[-1].name == "channel.open-ok"

    @invariant()
    def the_connection_is_open(self) -> None:
        assert not self.client.connection.closing


Publishing.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestPublishing = Publishing.TestCase
