from flowmq._message_log import MessageLog
from flowmq._segment import Segment

class RecordWriter:
    segments: dict[int, Segment]

class QueueLog(MessageLog):
    queue_id: int
    gone: bool
