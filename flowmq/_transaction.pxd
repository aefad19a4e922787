# What a transaction has staged: publishes with where they go, and settlements taken out of the window.
#
# Nothing staged has happened yet. Commit (_tx) takes it out again in order and lets it happen; rollback drops the
# publishes and puts the settlements back.

from cpython.object cimport PyObject
from libc.stdint cimport uint64_t

from flowmq._delivery cimport Unacked, UnackedWindow
from flowmq._message cimport Message
from flowmq._queue cimport Queue
from flowmq._router cimport RouteSet
from flowmq._rules cimport Deduplication

cdef enum Outcome:
    ACKED = 0
    REQUEUED = 1
    DROPPED = 2                     # rejected without requeue
    FAILED = 3                      # requeued because its consumer could not deal with it

cdef struct StagedPublish:
    # A publish of a transaction.
    Message *message                # owned
    PyObject *routes                # RouteSet, owned
    PyObject *deduplication         # whom to ask at the commit whether it has been there before, owned; or NULL
    uint64_t expires_at_ms
    bint mandatory

cdef struct StagedSettlement:
    Unacked entry                   # moved here from the window
    Outcome outcome

cdef class Transaction:
    cdef StagedPublish *publishes
    cdef Py_ssize_t published               # so many of the publishes have happened and are not here any more
    cdef Py_ssize_t publishes_count
    cdef Py_ssize_t publishes_capacity
    cdef StagedSettlement *settlements
    cdef Py_ssize_t settled                 # the same of the settlements
    cdef readonly Py_ssize_t settlements_count
    cdef Py_ssize_t settlements_capacity
    cdef uint64_t octets                    # of all messages staged: names, headers and bodies
    cdef uint64_t targets                   # queues they go to, one by one
    cdef bint is_durable                    # something of it may have to be in the journal
    cdef PyObject *judged                   # the RouteSet of the last publish that was looked at for that, borrowed
    cdef UnackedWindow window               # of its settlements, once it is being committed
    cdef uint64_t commit                    # what there is to wait for so far
    cdef dict held                          # queues that something comes back to: they serve nobody before all is done

    cdef inline bint is_over(self) noexcept:
        return self.published == self.publishes_count and self.settled == self.settlements_count

    # Takes over the reference to the message.
    cdef int stage_publish(self, Message *message, RouteSet routes, Deduplication deduplication,
                           uint64_t expires_at_ms, bint mandatory) except -1
    # Takes over the entry.
    cdef int stage_settlement(self, Unacked *entry, Outcome outcome) except -1
    # What is next in each line, out of it: the caller gives up what it owns, or hands it on.
    cdef StagedPublish *next_publish(self) noexcept
    cdef StagedSettlement *next_settlement(self) noexcept
    cdef int hold(self, Queue queue) except -1
    cdef int let_go(self) except -1
    cdef void drop_publishes(self) noexcept
    # Those that have not happened.
    cdef int restore_settlements(self, UnackedWindow window) except -1

cdef void release_publish(StagedPublish *publish) noexcept
