"""tx: publishes and acknowledgements take effect together at commit, or not at all."""

from tests.support.wire import Channel, Client


def test_publishes_wait_for_commit(client: Client, channel: Channel, queue: str) -> None:
    watcher = client.channel()
    channel.call("tx.select")
    for body in (b"1", b"2"):
        channel.publish("", queue, body)
    channel.call("queue.declare", queue=queue, passive=True)
    assert watcher.get(queue) is None
    channel.call("tx.commit")
    assert watcher.drain(queue) == [b"1", b"2"]


def test_rollback_forgets_publishes(channel: Channel, queue: str) -> None:
    channel.call("tx.select")
    channel.publish("", queue, b"forgotten")
    channel.call("tx.rollback")
    channel.publish("", queue, b"kept")
    channel.call("tx.commit")
    assert channel.drain(queue) == [b"kept"]


def test_closing_forgets_publishes(client: Client, channel: Channel, queue: str) -> None:
    transaction = client.channel()
    transaction.call("tx.select")
    transaction.publish("", queue, b"forgotten")
    transaction.close()
    assert channel.get(queue) is None


def test_rollback_restores_acknowledgements_without_delivering_again(channel: Channel, queue: str) -> None:
    channel.put(queue, b"1", b"2")
    channel.call("tx.select")
    for _ in range(2):
        assert channel.get(queue, no_ack=False)
    channel.ack(2, multiple=True)
    channel.call("tx.rollback")
    assert channel.get(queue, no_ack=False) is None
    channel.ack(1)  # still known
    channel.call("tx.commit")
    channel.call("basic.recover", requeue=True)
    assert channel.drain(queue) == [b"2"]


def test_acknowledgements_without_commit_return_with_the_channel(client: Client, channel: Channel, queue: str) -> None:
    channel.put(queue, b"1")
    transaction = client.channel()
    transaction.call("tx.select")
    assert transaction.get(queue, no_ack=False)
    transaction.ack(1)
    transaction.close()
    again = channel.get(queue)
    assert again
    assert again.redelivered


def test_rejections_wait_for_commit_too(channel: Channel, queue: str) -> None:
    channel.put(queue, b"1", b"2")
    channel.call("tx.select")
    for _ in range(2):
        assert channel.get(queue, no_ack=False)
    channel.send("basic.reject", delivery_tag=1, requeue=True)
    channel.send("basic.nack", delivery_tag=2, requeue=False)
    assert channel.get(queue) is None
    channel.call("tx.commit")
    assert channel.drain(queue) == [b"1"]


def test_returns_come_with_the_commit(channel: Channel, queue: str, name: str) -> None:
    channel.call("tx.select")
    channel.publish("", f"{name}-nobody", b"x", mandatory=True)
    assert channel.settle(queue) == []
    channel.send("tx.commit")
    assert channel.expect("basic.return").reply_code == 312
    channel.expect("tx.commit-ok")


def test_empty_transactions_commit_and_roll_back(channel: Channel) -> None:
    channel.call("tx.select")
    for method in ("tx.commit", "tx.rollback", "tx.commit", "tx.select"):
        channel.call(method)


def test_commit_and_rollback_need_a_transaction(client: Client) -> None:
    for method in ("tx.commit", "tx.rollback"):
        channel = client.channel()
        channel.send(method)
        channel.expect_close(406, "PRECONDITION_FAILED - channel is not transactional")


def test_transactions_and_confirms_exclude_each_other(client: Client) -> None:
    for first, second, text in (
        ("tx.select", "confirm.select", "cannot switch from tx to confirm mode"),
        ("confirm.select", "tx.select", "cannot switch from confirm to tx mode"),
    ):
        channel = client.channel()
        channel.call(first)
        channel.send(second)
        channel.expect_close(406, f"PRECONDITION_FAILED - {text}")


def test_commit_of_something_a_queue_refuses(channel: Channel, name: str) -> None:
    channel.queue(name, exclusive=True, arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
    channel.put(name, b"full")
    channel.call("tx.select")
    channel.publish("", name, b"too much")
    channel.send("tx.commit")
    channel.expect_close(406, "PRECONDITION_FAILED - partial tx completion", (90, 20))
