# See _restore.pxd for what this module is and is not.

from libc.stdint cimport uint64_t

from flowmq._frame cimport FLOWMQ_CONTRACT
from flowmq._journal cimport Journal
from flowmq._message cimport message_retain
from flowmq._heaps cimport Entry
from flowmq._order cimport Order, queue_now
from flowmq._queue_log cimport QueueLog
from flowmq._records cimport Place
from flowmq._replay cimport Replay
from flowmq._replay_queue cimport LiveMessage, QueueHistory
from flowmq._segment cimport Segment

from flowmq._frame import check_contract

check_contract(FLOWMQ_CONTRACT)


def restore_queue(Journal journal, Order queue, QueueLog queue_log, Replay replay):
    """The queue gets its live messages back, in order; returns how many. The replay's copy is given up."""
    cdef QueueHistory history = replay.queue(queue_log.queue_id)
    cdef Py_ssize_t count = 0
    cdef Py_ssize_t at
    cdef LiveMessage *live
    cdef uint64_t expected = 1
    if history is None:
        return 0
    live = replay.live(queue_log.queue_id, &count)
    queue_log.aside = history.aside
    for at in range(count):
        if live[at].sequence > expected:
            queue_log.settled.add(expected, live[at].sequence - 1)
        expected = live[at].sequence + 1
        restore_message(journal, queue, queue_log, &live[at])
    queue.next_sequence = max(history.next_sequence, expected)
    if queue.next_sequence > expected:
        queue_log.settled.add(expected, queue.next_sequence - 1)
    queue_log.next_sequence = queue.next_sequence
    queue_log.delivered_up_to = history.delivered_up_to
    replay.forget(queue_log.queue_id)
    return count


cdef int restore_message(Journal journal, Order queue, QueueLog queue_log, LiveMessage *live) except -1:
    cdef Segment segment = journal.segments[live.segment]
    cdef Place place
    cdef Entry entry
    segment.count_message(live.record_octets)
    queue_log.note_run(live.sequence, segment)
    if live.delivery_count:
        queue_log.returned[live.sequence] = live.delivery_count
    ready_at_ms = queue_log.aside.get(live.sequence, 0)
    if ready_at_ms <= queue_now() and (queue.paged_count or queue.is_window_full()):
        return queue.restore_paged(live.sequence, live.body_bytes, live.expires_at_ms)
    entry.message = segment.read_message(live.offset, &place)
    message_retain(entry.message)
    entry.sequence = live.sequence
    entry.expires_at_ms = live.expires_at_ms
    entry.delivery_count = max(live.delivery_count, <unsigned int>live.redelivered)
    if ready_at_ms > queue_now():
        return queue.put_aside(&entry, ready_at_ms)
    return queue.restore(&entry)
