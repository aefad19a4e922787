from flowmq._queue import Queue
from flowmq._queue_log import QueueLog
from flowmq._replay import Replay

def restore_queue(queue: Queue, queue_log: QueueLog, replay: Replay) -> int: ...
