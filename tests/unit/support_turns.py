"""What tests of work in turns share: how many there are, in what pieces, a step of the loop, and what consumers get."""

from tests.support import codec
from tests.support.codec import Method
from tests.unit.support_plane import Client, Plane

COUNT, PIECE = 10, 3
BODIES = [b"%d" % number for number in range(COUNT)]
CLOSE = codec.method_frame(1, "channel.close", reply_code=200)


def consume(client: Client, queue: str, prefetch: int = 0) -> list[Method]:
    client.call(1, "basic.qos", prefetch_count=prefetch)
    client.send(1, "basic.consume", queue=queue, consumer_tag=queue)
    return client.received()[1:]


def bodies(client: Client) -> list[tuple[bytes, bool]]:
    return [(method.body, method.redelivered) for method in client.received() if method.name == "basic.deliver"]


def names(client: Client) -> list[str]:
    return [method.name for method in client.received()]


def step(plane: Plane) -> None:
    """What has been asked to be done soon, but not what that leads to."""
    for _ in range(len(plane.loop.soon)):
        callback, arguments = plane.loop.soon.popleft()
        callback(*arguments)
