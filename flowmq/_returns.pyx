# See _returns.pxd for what this module is and is not.

from cpython.object cimport PyObject
from libc.stdint cimport uint64_t

from flowmq._dead_letters cimport anyone_died, bury_some
from flowmq._delivery cimport Unacked, UnackedWindow, release_unacked
from flowmq._frame cimport FLOWMQ_CONTRACT
from flowmq._heaps cimport Entry
from flowmq._message cimport message_retain
from flowmq._queue cimport Queue, deliver_again

from flowmq._frame import check_contract

check_contract(FLOWMQ_CONTRACT)


cdef class Returns:
    """Deliveries of channels that have ended, which go back to their queues step by step."""

    def __init__(self):
        self.windows = []
        self.touched = {}

    @property
    def message_count(self) -> int:
        """How many are still to go back."""
        return sum((<UnackedWindow>window).count for window in self.windows)

    cdef int add(self, UnackedWindow window) except -1:
        if window.count:
            # The window that is dealt with stays last.
            self.windows.insert(0, window)
        return 0

    def step(self, Py_ssize_t limit) -> bool:
        """Give so many back at most; are there more? When there are none, deliveries begin again.

        After an error of ours deliveries begin again too, and further steps give back what is left.
        """
        try:
            return self.give_some_back(limit)
        except Exception:
            self.finish()
            raise

    cdef bint give_some_back(self, Py_ssize_t limit) except? True:
        cdef UnackedWindow window
        while self.windows and limit > 0:
            window = self.windows[len(self.windows) - 1]
            limit -= self.give_back(window, limit)
            if window.count == 0:
                self.windows.pop()
                self.blamed = None
        if self.windows:
            if not self.in_pieces:
                self.in_pieces = True
                for queue in self.touched:
                    self.touch(<Queue>queue)
        else:
            self.finish()
        if anyone_died():
            bury_some(0)
        return len(self.windows) > 0

    cdef Py_ssize_t give_back(self, UnackedWindow window, Py_ssize_t limit) except -1:
        """Of what each consumer held the oldest is the one that may be to blame."""
        cdef Unacked unacked
        cdef Entry entry
        cdef Py_ssize_t done = 0
        cdef PyObject *last_queue = NULL
        cdef PyObject *last_holder = NULL
        cdef bint failed
        if self.blamed is None:
            self.blamed = set()
        while done < limit and window.take_oldest(<uint64_t>-1, &unacked):
            done += 1
            if unacked.queue != last_queue:
                # Kept alive by being touched, while `unacked` may hold the last reference.
                last_queue = unacked.queue
                self.touch(<Queue>last_queue)
            failed = False
            if unacked.consumer != last_holder or done == 1:
                last_holder = unacked.consumer
                failed = <size_t>last_holder not in self.blamed
                if failed:
                    self.blamed.add(<size_t>last_holder)
            entry.message = unacked.message
            entry.sequence = unacked.sequence
            entry.delivery_count = unacked.delivery_count
            entry.expires_at_ms = unacked.expires_at_ms
            message_retain(entry.message)
            (<Queue>last_queue).requeue(&entry, failed)
            release_unacked(&unacked)
        return done

    cdef int touch(self, Queue queue) except -1:
        held = self.touched.get(queue, False)
        if self.in_pieces and not held:
            queue.hold()
            held = True
        self.touched[queue] = held
        return 0

    cdef int finish(self) except -1:
        touched, self.touched = self.touched, {}
        return deliver_again(touched)
