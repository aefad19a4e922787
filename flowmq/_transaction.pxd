# What a transaction has staged: publishes with where they go, and settlements taken out of the window.
#
# Nothing staged has happened yet. Commit takes it out again in order and lets it happen; rollback drops the publishes
# and puts the settlements back.

from cpython.object cimport PyObject
from libc.stdint cimport uint64_t

from flowmq._delivery cimport Unacked, UnackedWindow
from flowmq._message cimport Message
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
    cdef Py_ssize_t publishes_count
    cdef Py_ssize_t publishes_capacity
    cdef StagedSettlement *settlements
    cdef readonly Py_ssize_t settlements_count
    cdef Py_ssize_t settlements_capacity

    # Takes over the reference to the message.
    cdef int stage_publish(self, Message *message, RouteSet routes, Deduplication deduplication,
                           uint64_t expires_at_ms, bint mandatory) except -1
    # Takes over the entry.
    cdef int stage_settlement(self, Unacked *entry, Outcome outcome) except -1
    cdef void drop_publishes(self) noexcept
    cdef int restore_settlements(self, UnackedWindow window) except -1
