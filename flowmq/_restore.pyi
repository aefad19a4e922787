from flowmq._order import Order
from flowmq._queue_log import QueueLog
from flowmq._replay import Replay

def restore_queue(queue: Order, queue_log: QueueLog, replay: Replay) -> int: ...
