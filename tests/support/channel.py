"""One channel of a test client: sending methods and contents, and saying which answer must come.

The connection itself, and how frames become methods, is `tests.support.wire`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.support import codec
from tests.support.codec import Method

if TYPE_CHECKING:
    from tests.support.wire import Client


class Unexpected(AssertionError):
    """The peer answered, but with something else."""


def check_close(close: Method, code: int, text: str | None) -> None:
    assert close.reply_code == code, str(close)
    assert text is None or close.reply_text == text, f"\n  expected {text}\n  but came {close.reply_text}"


class Channel:
    """One channel of a client, with the words tests use most."""

    def __init__(self, client: Client, number: int) -> None:
        self.client, self.number = client, number
        self.confirmed = 0
        self._confirmed_up_to = 0
        self._confirmed_beyond: set[int] = set()

    def send(self, name: str, **fields: Any) -> None:
        self.client.send(self.number, name, **fields)

    def expect(self, *names: str) -> Method:
        return self.client.expect(*names, channel=self.number)

    def call(self, name: str, **fields: Any) -> Method:
        self.send(name, **fields)
        return self.expect(name + "-ok")

    def pending(self) -> list[Method]:
        return self.client.pending(self.number)

    def content(self, body: bytes, properties: dict[str, Any] | bytes | None = None) -> bytes:
        return codec.content_frames(self.number, body, properties, self.client.frame_max)

    def publish(
        self,
        exchange: str,
        routing_key: str | bytes,
        body: bytes = b"",
        properties: dict[str, Any] | bytes | None = None,
        **bits: bool,
    ) -> None:
        publish = codec.method_frame(self.number, "basic.publish", exchange=exchange, routing_key=routing_key, **bits)
        self.client.write(publish + self.content(body, properties))

    def queue(self, name: str = "", **fields: Any) -> str:
        return str(self.call("queue.declare", queue=name, **fields).queue)

    def put(self, queue: str, *bodies: bytes, properties: dict[str, Any] | None = None) -> None:
        """Publish straight to a queue and return when the messages are in it (and handed on to who wants them)."""
        through = self.client.confirming()
        for body in bodies:
            through.publish("", queue, body, properties)
        through.wait_for_confirms(len(bodies))

    def wait_for_confirms(self, count: int) -> None:
        """In any order, as they come when several queues are written to."""
        wanted = self.confirmed + count
        while self.confirmed < wanted:
            ack = self.expect("basic.ack")
            if ack.multiple:
                self._confirmed_up_to = ack.delivery_tag
                self._confirmed_beyond = {tag for tag in self._confirmed_beyond if tag > ack.delivery_tag}
            else:
                self._confirmed_beyond.add(ack.delivery_tag)
            self.confirmed = self._confirmed_up_to + len(self._confirmed_beyond)

    def ask(self, name: str, **fields: Any) -> Method:
        """Like `call`, but deliveries that come before the answer are kept for later."""
        self.send(name, **fields)
        seen = []
        while (method := self.client.next_method(self.number)).name == "basic.deliver":
            seen.append(method)
        self.client.keep(seen)
        if method.name != name + "-ok":
            raise Unexpected(f"{name}-ok expected, but {method} came")
        return method

    def count(self, queue: str) -> int:
        return int(self.ask("queue.declare", queue=queue, passive=True).message_count)

    def settle(self, queue: str) -> list[Method]:
        """What this channel has been sent once everything asked of the queue so far is done.

        Two round trips: a peer may answer a question about a queue before it hands on what the queue sent earlier.
        """
        for _ in range(2):
            self.count(queue)
        return self.pending()

    def take_pending(self) -> list[Method]:
        return [self.client.next_method(self.number) for _ in self.pending()]

    def get(self, queue: str, no_ack: bool = True) -> Method | None:
        self.send("basic.get", queue=queue, no_ack=no_ack)
        method = self.expect("basic.get-ok", "basic.get-empty")
        return method if method.name == "basic.get-ok" else None

    def drain(self, queue: str) -> list[bytes]:
        """The bodies in the queue, in order, taken out of it."""
        bodies = []
        while (message := self.get(queue)) is not None:
            bodies.append(message.body)
        return bodies

    def consume(self, queue: str, consumer_tag: str = "", **fields: Any) -> str:
        return str(self.call("basic.consume", queue=queue, consumer_tag=consumer_tag, **fields).consumer_tag)

    def ack(self, delivery_tag: int, multiple: bool = False) -> None:
        self.send("basic.ack", delivery_tag=delivery_tag, multiple=multiple)

    def expect_close(self, code: int, text: str | None = None, method: tuple[int, int] | None = None) -> Method:
        """channel.close with this code, answered; afterwards the number may be used again."""
        close = self.client.next_method(self.number)
        if close.name != "channel.close":
            raise Unexpected(f"channel.close expected, but {close} came")
        check_close(close, code, text)
        assert method is None or (close.class_id, close.method_id) == method, str(close)
        self.send("channel.close-ok")
        return close

    def close(self) -> None:
        self.call("channel.close", reply_code=200, reply_text="bye")
