from flowmq._message_log import LogSource, MessageLog
from flowmq._segment import Segment

class RecordWriter(LogSource):
    segments: dict[int, Segment]

class QueueLog(MessageLog):
    queue_id: int
    gone: bool
    damaged: bool
