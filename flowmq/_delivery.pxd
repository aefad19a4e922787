# Delivery-tag bookkeeping: what a channel has handed out and not got back, and what it owes its publisher.
#
# UnackedWindow is ordered by delivery tag: settling the oldest, the usual case, pops the head; settling from the middle
# leaves a hole. The tags are usually consecutive, so that an entry is found by subtraction; deliveries that need no
# acknowledgement use up tags without an entry, then by binary search. Holes are squeezed out when they outnumber
# entries.
#
# ConfirmLedger counts publishes on a channel in confirm mode and says each one's outcome exactly once, with
# multiple=true wherever an unbroken run allows it.
#
# Neither knows queues or sockets: an entry's owner is opaque here.

from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from flowmq._frame cimport OutputBuffer
from flowmq._message cimport Message

cdef struct Unacked:
    uint64_t delivery_tag
    Message *message            # owned; NULL marks a hole
    PyObject *queue             # owned
    PyObject *consumer          # owned; NULL after basic.get
    uint64_t sequence           # the message's place in its queue
    uint64_t expires_at_ms      # as the queue keeps it
    uint32_t delivery_count     # as the queue keeps it, without this delivery
    uint32_t delivered_at_ms    # modulo 2^32

cdef class UnackedWindow:
    cdef Unacked *ring
    cdef uint64_t mask          # capacity - 1; the capacity is a power of two, or the ring is NULL
    cdef uint64_t head          # positions only grow: entry n is ring[n & mask]
    cdef uint64_t tail
    cdef readonly uint64_t count            # entries, holes not counted
    cdef uint64_t of_consumers              # entries, and what was taken out and is not settled, but for basic.get

    # The slot for a new newest entry; the caller fills it (and gives it its references) before anything else happens.
    cdef Unacked *push(self) except NULL
    # Moves the entry out to `settled`. False when that tag is not outstanding.
    cdef bint take(self, uint64_t delivery_tag, Unacked *settled) noexcept
    cdef bint contains(self, uint64_t delivery_tag) noexcept
    # Moves the oldest entry out if its tag is not above `up_to`. False when there is none.
    cdef bint take_oldest(self, uint64_t up_to, Unacked *settled) noexcept
    # Is there one whose tag is not above `up_to`?
    cdef bint has_up_to(self, uint64_t up_to) noexcept
    # Puts entries back that take() or take_oldest() gave, in any order.
    cdef int restore(self, Unacked *entries, Py_ssize_t count) except -1

    cdef uint64_t find(self, uint64_t delivery_tag) noexcept
    cdef int resize(self, uint64_t capacity) except -1
    cdef void replace(self, Unacked *ring, uint64_t capacity) noexcept
    cdef void skip_holes(self) noexcept
    cdef void squeeze(self) noexcept

# Gives up the entry's references.
cdef void release_unacked(Unacked *entry) noexcept

cdef class ConfirmLedger:
    cdef readonly uint64_t last_sequence    # of the last publish; 0 before the first
    cdef uint64_t told          # every publish up to here has been answered
    cdef uint64_t settled       # every publish up to here has an outcome, and those above `told` are positive
    cdef uint8_t *outcomes      # ring by sequence for publishes above `settled`; allocated when one must wait
    cdef uint64_t mask
    cdef uint64_t unsent        # outcomes in the ring not answered yet

    cdef uint64_t publish(self) noexcept
    cdef int resolve(self, uint64_t sequence, bint positive) except -1
    # Writes what can be said now to the output buffer.
    cdef int tell(self, OutputBuffer *output, uint16_t channel) except -1
    cdef int reserve(self, uint64_t sequence) except -1
    cdef int advance(self, OutputBuffer *output, uint16_t channel) except -1
