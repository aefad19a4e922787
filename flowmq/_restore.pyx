# Puts what a replay found back into a queue and its log. Runs once, before anything else happens to them.
# See _restore.pxd for what this module is and is not.

from libc.stdint cimport uint64_t

from flowmq._frame cimport FLOWMQ_CONTRACT
from flowmq._heaps cimport Entry
from flowmq._intervals cimport IntervalSet
from flowmq._order cimport Order, queue_now
from flowmq._queue_log cimport QueueLog
from flowmq._replay cimport Replay
from flowmq._replay_queue cimport LiveRun, QueueHistory
from flowmq._segment cimport Segment
from flowmq._summary cimport Described

from flowmq._frame import check_contract

check_contract(FLOWMQ_CONTRACT)


def restore_queue(Order order, QueueLog queue_log, Replay replay):
    """The queue gets its live messages back, in order; returns how many. They stay on disk until they are needed."""
    cdef QueueHistory history = replay.queue(queue_log.queue_id)
    cdef Py_ssize_t at
    if history is None:
        return 0
    for at in range(history.runs_count):
        queue_log.restore_run(&history.runs[at].run, history.runs[at].messages, history.runs[at].octets)
    settle_the_others(queue_log.settled, history.live, history.next_sequence)
    queue_log.next_sequence = order.next_sequence = history.next_sequence
    queue_log.delivered_up_to = history.delivered_up_to
    queue_log.returned = {
        sequence: count for sequence, count in history.returned.items() if history.live.contains(sequence)
    }
    put_aside(order, queue_log, history)
    for at in range(history.runs_count):
        restore_run(order, queue_log, &history.runs[at])
    return history.live.total


cdef int put_aside(Order order, QueueLog queue_log, QueueHistory history) except -1:
    """Those that came back and wait for their time do so in memory."""
    cdef Entry entry
    cdef dict aside = {}
    for sequence, ready_at_ms in sorted(history.aside.items()):
        if ready_at_ms > queue_now() and queue_log.load(sequence, &entry):
            order.put_aside(&entry, ready_at_ms)
            aside[sequence] = ready_at_ms
    queue_log.aside = aside
    return 0


cdef int restore_run(Order order, QueueLog queue_log, LiveRun *live) except -1:
    """Message by message where some expire, or stand aside; otherwise at once."""
    cdef Described message
    cdef uint64_t wanted = live.run.first
    cdef Segment segment
    if live.run.expires_next_ms == 0 and not queue_log.aside:
        return order.restore_many(live.run.first, live.messages, live.body_bytes)
    segment = queue_log.journal.segments[live.run.segment_number]
    while wanted <= live.run.last and queue_log.find_in(segment, wanted, live.run.last, &message):
        order.restore_paged(message.sequence, message.body_bytes, message.expires_at_ms)
        wanted = message.sequence + 1
    return 0


cdef int settle_the_others(IntervalSet settled, IntervalSet live, uint64_t next_sequence) except -1:
    cdef uint64_t expected = 1
    cdef Py_ssize_t at
    for at in range(live.count):
        if live.at(at).first > expected:
            settled.add(expected, live.at(at).first - 1)
        expected = live.at(at).last + 1
    if next_sequence > expected:
        settled.add(expected, next_sequence - 1)
    return 0
