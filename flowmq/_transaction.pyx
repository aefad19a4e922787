# See _transaction.pxd for what this module is and is not.

from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdlib cimport free, realloc

from flowmq._delivery cimport release_unacked
from flowmq._frame cimport FLOWMQ_CONTRACT
from flowmq._message cimport message_release
from flowmq._queue cimport deliver_again

from flowmq._frame import check_contract

check_contract(FLOWMQ_CONTRACT)


cdef class Transaction:
    """Staged publishes and settlements of one channel."""

    def __dealloc__(self):
        cdef Py_ssize_t at
        self.drop_publishes()
        for at in range(self.settled, self.settlements_count):
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
        self.octets += message.names_bytes + message.header_bytes + message.body_bytes
        self.targets += <uint64_t>routes.count
        if deduplication is not None:
            self.is_durable = True
        elif message.delivery_mode == 2 and not self.is_durable and publish.routes != self.judged:
            self.judged = publish.routes
            self.is_durable = leads_to_disk(routes)
        return 0

    cdef int stage_settlement(self, Unacked *entry, Outcome outcome) except -1:
        if self.settlements_count == self.settlements_capacity:
            grow(<void **>&self.settlements, &self.settlements_capacity, sizeof(StagedSettlement))
        self.settlements[self.settlements_count].entry = entry[0]
        self.settlements[self.settlements_count].outcome = outcome
        self.settlements_count += 1
        if entry.message.delivery_mode == 2 and not self.is_durable:
            self.is_durable = is_on_disk(<Queue>entry.queue)
        return 0

    cdef StagedPublish *next_publish(self) noexcept:
        self.published += 1
        return &self.publishes[self.published - 1]

    cdef StagedSettlement *next_settlement(self) noexcept:
        self.settled += 1
        return &self.settlements[self.settled - 1]

    cdef int hold(self, Queue queue) except -1:
        if self.held is None:
            self.held = {}
        if queue not in self.held:
            queue.hold()
            self.held[queue] = True
        return 0

    cdef int let_go(self) except -1:
        held, self.held = self.held, None
        return 0 if held is None else deliver_again(held)

    cdef void drop_publishes(self) noexcept:
        cdef Py_ssize_t at
        for at in range(self.published, self.publishes_count):
            release_publish(&self.publishes[at])
        self.published = self.publishes_count = 0
        self.octets = self.targets = 0

    cdef int restore_settlements(self, UnackedWindow window) except -1:
        cdef Py_ssize_t at
        # The window wants bare entries: they lie at a larger stride here, so the gaps are closed in place.
        cdef Unacked *entries = <Unacked *>self.settlements
        cdef Py_ssize_t count = self.settlements_count - self.settled
        if count == 0:
            return 0
        for at in range(count):
            entries[at] = self.settlements[self.settled + at].entry
        self.settled = self.settlements_count = 0
        return window.restore(entries, count)


cdef void release_publish(StagedPublish *publish) noexcept:
    message_release(publish.message)
    Py_DECREF(<RouteSet>publish.routes)
    if publish.deduplication != NULL:
        Py_DECREF(<Deduplication>publish.deduplication)


cdef bint leads_to_disk(RouteSet routes) noexcept:
    cdef Py_ssize_t at
    for at in range(routes.count):
        if is_on_disk(<Queue>routes.targets[at]):
            return True
    return False


cdef bint is_on_disk(Queue queue) noexcept:
    """Does a persistent message there outlive the process?"""
    return queue.lane_made is not None or (queue.log is not None and not queue.log.until_restart)


cdef int grow(void **array, Py_ssize_t *capacity, size_t item_bytes) except -1:
    cdef Py_ssize_t wanted = max(<Py_ssize_t>16, capacity[0] * 2)
    cdef void *moved = realloc(array[0], wanted * item_bytes)
    if moved == NULL:
        raise MemoryError("transaction")
    array[0] = moved
    capacity[0] = wanted
    return 0
