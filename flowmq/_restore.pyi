from flowmq._journal import Journal, QueueLog
from flowmq._queue import Queue
from flowmq._replay import Replay

def restore_queue(journal: Journal, queue: Queue, queue_log: QueueLog, replay: Replay) -> int: ...
