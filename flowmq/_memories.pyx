# See _memories.pxd for what this module is and is not.

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint32_t, uint64_t, uint8_t
from libc.string cimport memcpy

from flowmq._frame cimport FLOWMQ_CONTRACT
from flowmq._heaps cimport Entry
from flowmq._message cimport (
    Properties, message_body, message_make_room, message_new, message_release, scan_properties,
)
from flowmq._order cimport Reason
from flowmq._rewrite cimport header_value

from flowmq._frame import check_contract

check_contract(FLOWMQ_CONTRACT)

cdef enum:
    PAGE_MESSAGES = 1000


cdef Message *message_of_octets(bytes body) except NULL:
    """A persistent message with that body and nothing else."""
    cdef bytes header = b"\x00\x3c\x00\x00" + PyBytes_GET_SIZE(body).to_bytes(8, "big") + b"\x10\x00\x02"
    cdef Properties properties
    cdef Message *message
    cdef Message *grown
    scan_properties(<const uint8_t *>PyBytes_AS_STRING(header), <uint32_t>len(header), &properties)
    message = message_new(b"\x00\x00", 2, <const uint8_t *>PyBytes_AS_STRING(header), <uint32_t>len(header),
                          PyBytes_GET_SIZE(body), &properties)
    if message == NULL:
        raise MemoryError("a message to remember")
    if PyBytes_GET_SIZE(body) == 0:
        return message
    grown = message_make_room(message, PyBytes_GET_SIZE(body))
    if grown == NULL:
        message_release(message)
        raise MemoryError("a message to remember")
    memcpy(message_body(grown), PyBytes_AS_STRING(body), PyBytes_GET_SIZE(body))
    return grown


cdef class SeenBefore(Deduplication):
    """Remembers in `memory` which values of a header have been seen. Its rules say how many, and how long."""

    def __init__(self, Queue memory not None, bytes header not None):
        self.memory = memory
        self.header = header
        self.seen = {}

    cdef bint is_duplicate(self, Message *message, uint64_t *commit) except -1:
        cdef bytes value = header_value(message, self.header)
        if value is None:
            return False
        if value in self.seen:
            if self.memory.log is not None:
                commit[0] = max(commit[0], self.memory.log.latest_commit())
            return True
        self.remember(value)
        return False

    cdef int remember(self, bytes value) except -1:
        cdef Message *note = message_of_octets(value)
        cdef uint64_t commit = 0
        # Before it is published: what has to go for it is forgotten by its own number.
        self.seen[value] = self.memory.next_sequence
        try:
            self.memory.publish(note, 0, &commit)
        finally:
            message_release(note)
        return 0

    def forget(self, bytes value, uint64_t sequence):
        if self.seen.get(value) == sequence:
            del self.seen[value]

    def recall(self):
        """After a restart: what the memory holds has been seen."""
        cdef uint64_t first = 0
        while True:
            page = self.memory.browse(first, PAGE_MESSAGES)
            for message in page:
                self.seen[message[6]] = message[0]
            if len(page) < PAGE_MESSAGES:
                return
            first = page[len(page) - 1][0] + 1


cdef class Forgetting(Undertaker):
    """What leaves a memory has not been seen before."""

    def __init__(self, SeenBefore seen_before not None):
        self.seen_before = seen_before

    cdef int take(self, Order queue, Order lane, Entry *entry, Reason reason) except -1:
        self.seen_before.forget(message_body(entry.message)[:entry.message.body_bytes], entry.sequence)
        return lane.forget(entry)

    cdef int finish(self) except -1:
        return 0


def copy_messages(Queue source not None, find_targets) -> None:
    """Every ready message of `source`, in order, also into the queues that find_targets(routing key, header) gives.

    Those may lead back into `source`: what comes to it meanwhile is not copied again.
    """
    cdef Entry entry
    cdef Queue target
    cdef uint64_t first = 0, end = source.next_sequence
    cdef uint64_t commit
    while source.peek(first, &entry):
        try:
            if entry.sequence >= end:
                break
            view = source.browse(entry.sequence, 1)[0]
            for target in find_targets(view[4], view[5]):
                commit = 0
                target.publish(entry.message, 0, &commit)
        finally:
            message_release(entry.message)
        first = entry.sequence + 1
