from flowmq._peer import Peer
from flowmq._queue import Consumer, Outlet

class ContentReceiver(Outlet):
    peer: Peer
    number: int
    vhost: object
    reply_consumer: Consumer | None
    reply_key: bytes | None
