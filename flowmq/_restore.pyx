# Puts what a replay found back into a queue and its log. Runs once, before anything else happens to them.
# See _restore.pxd for what this module is and is not.

from libc.stdint cimport uint64_t

from flowmq._frame cimport FLOWMQ_CONTRACT
from flowmq._intervals cimport IntervalSet
from flowmq._order cimport Order
from flowmq._queue_log cimport QueueLog
from flowmq._replay cimport Replay
from flowmq._replay_queue cimport QueueHistory

from flowmq._frame import check_contract

check_contract(FLOWMQ_CONTRACT)


def restore_queue(Order queue, QueueLog queue_log, Replay replay):
    """The queue gets its live messages back, in order; returns how many. They stay on disk until they are needed."""
    cdef QueueHistory history = replay.queue(queue_log.queue_id)
    cdef Py_ssize_t at
    if history is None:
        return 0
    for at in range(history.runs_count):
        queue_log.restore_run(&history.runs[at].run, history.runs[at].messages, history.runs[at].octets)
    settle_the_others(queue_log.settled, history.live, history.next_sequence)
    queue_log.next_sequence = history.next_sequence
    queue_log.delivered_up_to = history.delivered_up_to
    if history.returned:
        queue_log.returned = of_live(history.returned, history.live)
        queue_log.aside = of_live(history.aside, history.live)
    queue.restore_backlog(history.live.total, history.body_bytes, history.next_sequence, queue_log.expires_next_ms(),
                          history.expires_unevenly)
    if queue_log.aside:
        queue.set_aside(queue_log.aside)
    return history.live.total


cdef dict of_live(dict by_sequence, IntervalSet live):
    return {sequence: value for sequence, value in by_sequence.items() if live.contains(sequence)}


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
