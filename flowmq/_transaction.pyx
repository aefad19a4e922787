# See _transaction.pxd for what this module is and is not.

from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdlib cimport free, realloc

from flowmq._delivery cimport release_unacked
from flowmq._frame cimport FLOWMQ_CONTRACT
from flowmq._message cimport message_release

from flowmq._frame import check_contract

check_contract(FLOWMQ_CONTRACT)


cdef class Transaction:
    """Staged publishes and settlements of one channel."""

    def __dealloc__(self):
        cdef Py_ssize_t at
        self.drop_publishes()
        for at in range(self.settlements_count):
            release_unacked(&self.settlements[at].entry)
        free(self.publishes)
        free(self.settlements)

    cdef int stage_publish(self, Message *message, RouteSet routes, Deduplication deduplication,
                           uint64_t expires_at_ms, bint mandatory) except -1:
        cdef StagedPublish *publish
        if self.publishes_count == self.publishes_capacity:
            grow(<void **>&self.publishes, &self.publishes_capacity, sizeof(StagedPublish))
        publish = &self.publishes[self.publishes_count]
        publish.message = message
        Py_INCREF(routes)
        publish.routes = <PyObject *>routes
        publish.deduplication = NULL
        if deduplication is not None:
            Py_INCREF(deduplication)
            publish.deduplication = <PyObject *>deduplication
        publish.expires_at_ms = expires_at_ms
        publish.mandatory = mandatory
        self.publishes_count += 1
        return 0

    cdef int stage_settlement(self, Unacked *entry, Outcome outcome) except -1:
        if self.settlements_count == self.settlements_capacity:
            grow(<void **>&self.settlements, &self.settlements_capacity, sizeof(StagedSettlement))
        self.settlements[self.settlements_count].entry = entry[0]
        self.settlements[self.settlements_count].outcome = outcome
        self.settlements_count += 1
        return 0

    cdef void drop_publishes(self) noexcept:
        cdef Py_ssize_t at
        for at in range(self.publishes_count):
            message_release(self.publishes[at].message)
            Py_DECREF(<RouteSet>self.publishes[at].routes)
            if self.publishes[at].deduplication != NULL:
                Py_DECREF(<Deduplication>self.publishes[at].deduplication)
        self.publishes_count = 0

    cdef int restore_settlements(self, UnackedWindow window) except -1:
        cdef Py_ssize_t at
        # The window wants bare entries: they lie at a larger stride here, so the gaps are closed in place.
        cdef Unacked *entries = <Unacked *>self.settlements
        cdef Py_ssize_t count = self.settlements_count
        if count == 0:
            return 0
        for at in range(count):
            entries[at] = self.settlements[at].entry
        self.settlements_count = 0
        return window.restore(entries, count)


cdef int grow(void **array, Py_ssize_t *capacity, size_t item_bytes) except -1:
    cdef Py_ssize_t wanted = max(<Py_ssize_t>16, capacity[0] * 2)
    cdef void *moved = realloc(array[0], wanted * item_bytes)
    if moved == NULL:
        raise MemoryError("transaction")
    array[0] = moved
    capacity[0] = wanted
    return 0
