"""Those who come and go beside the ledger: good ones, careless ones, hostile ones. Each leaves nothing behind."""

import contextlib
import random
import socket
import struct
import subprocess
import sys
import time

from tests.fuzz.mutations import mutate
from tests.fuzz.sessions import handshake
from tests.support import codec
from tests.support.codec import BODY, HEADER
from tests.support.peer import Peer
from tests.support.wire import Client, Gone, Unexpected, connect

SLOW_READER_BYTES = 4_000_000


def well_behaved(peer: Peer, dice: random.Random) -> None:
    """Queues, exchanges, bindings, transient messages, a transaction; then the polite end."""
    client = connect(peer)
    for _ in range(dice.randrange(1, 8)):
        channel = client.channel()
        queue = channel.queue(exclusive=True, arguments={"x-max-priority": 3, "x-message-ttl": 60000})
        exchange = f"soak {dice.randrange(1 << 60)}"
        kind = dice.choice(("topic", "direct", "fanout", "headers", "x-consistent-hash"))
        channel.call("exchange.declare", exchange=exchange, type=kind, auto_delete=True)
        channel.call("queue.bind", queue=queue, exchange=exchange, routing_key="7")
        channel.consume(queue, no_ack=True)
        for number in range(dice.randrange(1, 50)):
            channel.publish("", queue, b"m" * dice.choice((1, 1000, 40000)), {"priority": number % 4})
            channel.expect("basic.deliver")
        channel.call("tx.select")
        channel.publish(exchange, "7", b"never to be seen")
        if dice.random() < 0.5:
            channel.call("tx.rollback")
        channel.close()
    client.close()


def careless(peer: Peer, dice: random.Random) -> None:
    """Errors on channels, unacknowledged deliveries, half a message; then a reset."""
    client = connect(peer)
    channel = client.channel()
    queue = channel.queue(exclusive=True)
    for _ in range(dice.randrange(1, 20)):
        wrong = client.channel()
        wrong.send("queue.declare", queue=f"not there {dice.random()}", passive=True)
        wrong.expect_close(404)
    channel.consume(queue)
    for _ in range(dice.randrange(1, 100)):
        channel.publish("", queue, b"x" * 1000)
    channel.publish("", "nowhere at all", b"", mandatory=True)
    number = channel.number
    half = codec.method_frame(number, "basic.publish", routing_key=queue)
    half += codec.frame(HEADER, number, struct.pack(">HHQH", 60, 0, 100_000, 0)) + codec.frame(BODY, number, b"half")
    client.write(half)
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.drop()


def hostile(peer: Peer, dice: random.Random) -> None:
    """Noise, or a handshake that is spoiled or stops half-way, or frames that are none behind a good one."""
    greeting = handshake(peer.user, peer.password)
    octets = dice.choice(
        (
            dice.randbytes(dice.randrange(1, 3000)),
            b"".join(mutate(greeting, dice)),
            b"".join(greeting[: dice.randrange(1, 4)]),
            b"".join(greeting) + dice.randbytes(3000),
            b"".join(greeting) + struct.pack(">BHI", 1, 0, 2**31),
            b"GET / HTTP/1.1\r\n\r\n",
        )
    )
    with socket.create_connection((peer.host, peer.port), 20) as connection, contextlib.suppress(OSError):
        connection.sendall(octets)
        if dice.random() < 0.5:
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass


def slow_reader(peer: Peer, dice: random.Random) -> None:
    """Asks for megabytes, does not read them, and goes."""
    client = connect(peer)
    channel = client.channel()
    queue = channel.queue(exclusive=True)
    channel.consume(queue, no_ack=dice.random() < 0.5)
    client.socket.settimeout(0.3)
    with contextlib.suppress(TimeoutError):
        for _ in range(SLOW_READER_BYTES // 100_000):
            channel.publish("", queue, b"x" * 100_000)
    client.drop()


KINDS = (well_behaved, careless, hostile, slow_reader)


def one(peer: Peer, dice: random.Random) -> None:
    dice.choices(KINDS, (3, 3, 4, 1))[0](peer, dice)


# --------------------------------------------------------------------------------------- processes that are killed


def be_killed(peer: Peer) -> None:
    """In a process of its own: consumers, publishers and transactions on five connections, until it is killed."""
    dice = random.Random()
    clients: list[Client] = [connect(peer) for _ in range(5)]
    channels = [client.channel() for client in clients]
    queues = [channel.queue(exclusive=True) for channel in channels]
    for channel, queue in zip(channels, queues, strict=True):
        channel.consume(queue)
    print("ready", flush=True)
    while True:
        at = dice.randrange(5)
        with contextlib.suppress(Gone, Unexpected):
            channels[at].publish("", queues[at], b"x" * dice.choice((10, 10_000)))
            channels[at].expect("basic.deliver")


def start_and_kill(peer: Peer, dice: random.Random) -> None:
    """kill -9 in the middle of everything."""
    arguments = [sys.executable, "-m", "tests.soak.victim", peer.host, str(peer.port)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        time.sleep(dice.random() * 0.3)  # at any moment of its work
        process.kill()
