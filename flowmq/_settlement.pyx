# See _settlement.pxd for what this module is and is not.

from libc.stdint cimport uint64_t

from flowmq._delivery cimport release_unacked
from flowmq._frame cimport FLOWMQ_CONTRACT
from flowmq._heaps cimport Entry
from flowmq._message cimport message_retain
from flowmq._queue cimport deliver_again
from flowmq._transaction cimport ACKED, DROPPED, FAILED, REQUEUED

from flowmq._frame import check_contract

check_contract(FLOWMQ_CONTRACT)

cdef object schedule_rest = None


def set_settlement_scheduler(schedule):
    """`schedule(channel)` has the channel's settle_more() called until there is no more, and nothing else that comes
    from its connection dealt with until then. None: everything is settled at once."""
    global schedule_rest
    schedule_rest = schedule


cdef bint put_off_settlement(object channel) except? True:
    if schedule_rest is None:
        return False
    schedule_rest(channel)
    return True


cdef class Settlement:
    """A channel's settlement of many deliveries, or what is left of it."""

    cdef int begin(self, UnackedWindow window, uint64_t up_to, Outcome outcome) except -1:
        self.window = window
        self.up_to = up_to
        self.outcome = outcome
        self.touched = {} if outcome == REQUEUED or outcome == FAILED else None
        self.is_going_on = True
        return 0

    cdef bint step(self, Py_ssize_t limit) except? True:
        cdef Unacked entry
        cdef Consumer consumer
        cdef Consumer waiting = None
        while limit > 0 and self.window.take_oldest(self.up_to, &entry):
            limit -= 1
            if self.touched is not None:
                self.touch(<Queue>entry.queue)
            elif entry.consumer != NULL and <Consumer>entry.consumer is not waiting:
                consumer = <Consumer>entry.consumer
                if waiting is not None:
                    wake(waiting)
                waiting = consumer
            settle_delivery(self.window, &entry, self.outcome)
        if waiting is not None:
            wake(waiting)
        if not self.window.has_up_to(self.up_to):
            return False
        for queue, is_held in (self.touched or {}).items():
            if not is_held:
                (<Queue>queue).hold()
                self.touched[queue] = True
        return True

    cdef int touch(self, Queue queue) except -1:
        if queue not in self.touched:
            self.touched[queue] = False
        return 0

    cdef int end(self) except -1:
        touched, self.touched = self.touched, None
        self.window = None
        self.is_going_on = False
        return 0 if touched is None else deliver_again(touched)


cdef int wake(Consumer consumer) except -1:
    if consumer.queue is not None:
        consumer.queue.wake(consumer)
    return 0


cdef int settle_delivery(UnackedWindow window, Unacked *entry, Outcome outcome) except -1:
    cdef Queue queue = <Queue>entry.queue
    cdef Entry settled
    if entry.consumer != NULL:
        (<Consumer>entry.consumer).unacked -= 1
        window.of_consumers -= 1
    if outcome == ACKED:
        queue.settle(entry.sequence, entry.message)
    else:
        settled.message = entry.message
        settled.sequence = entry.sequence
        settled.delivery_count = entry.delivery_count
        settled.expires_at_ms = entry.expires_at_ms
        message_retain(entry.message)
        if outcome == DROPPED:
            queue.reject(&settled)
        else:
            queue.requeue(&settled, outcome == FAILED)
    release_unacked(entry)
    return 0
