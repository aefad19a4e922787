# Order: the messages of a queue that wait, in their order; what is paged, what comes back, what falls due.
#
# Every message gets the next sequence number. New ones wait in a ring; ones that came back wait in a heap by sequence,
# of which the oldest is served first if it is older than the first in the ring, so that a requeued one returns to its
# place.
# Ones that came back and are to wait a while stand aside until then. Behind the ring, when that holds a window's worth,
# messages are only in the log.
#
# Expiry: a message whose expiry is not before that of the one before it needs no entry in the heap of what falls due,
# since it is found when it gets to the head; so a queue whose messages live equally long pays nothing for it. Any other
# is found by its number, wherever it stands.
#
# Knows no consumers and no limits. What becomes of a message that has expired is asked of the queue by bury().

from cpython.object cimport PyObject
from libc.stdint cimport uint64_t

from flowmq._heaps cimport Due, DueHeap, Entry, EntryHeap
from flowmq._message_log cimport LogSource, MessageLog
from flowmq._ring cimport Ring

# What time it is, in milliseconds since 1970: told by whoever owns a clock before queues are used.
cdef void queue_clock(uint64_t now_ms) noexcept nogil
cdef uint64_t queue_now() noexcept nogil
# Is memory getting short? Queues that are not durable then keep less in it.
cdef void queue_memory(bint is_short) noexcept nogil
# Does anything anywhere fall due some time?
cdef bint anything_timed() noexcept

cdef enum Reason:
    # Why a message leaves its queue other than to a consumer that settles it.
    REJECTED = 0
    EXPIRED = 1
    OVER_LIMIT = 2
    OVER_DELIVERY_LIMIT = 3
    RELEASED = 4                # it had only been waiting for its time

cdef struct Totals:
    uint64_t ready              # messages ready for delivery
    uint64_t ready_bytes        # their bodies
    uint64_t aside              # messages that came back and wait for their time

cdef class Order:
    cdef MessageLog log         # None: messages live in memory only
    cdef LogSource pager        # gives one that is not durable a log when it grows
    cdef PyObject *owner        # the queue whose lane this is; borrowed, NULL when it is the queue itself
    cdef Totals *totals         # of the whole queue
    cdef Totals own_totals
    cdef Ring ring
    cdef EntryHeap returned                 # by sequence
    cdef EntryHeap aside                    # by the time at which they return
    # Behind the ring: messages that are only in the log. All of them are newer.
    cdef readonly uint64_t paged_count
    cdef readonly uint64_t paged_bytes      # body octets
    cdef uint64_t paged_from                # no paged message is older
    cdef uint64_t count                     # ready messages here
    cdef uint64_t next_sequence

    cdef DueHeap due
    cdef uint64_t chain_end_ms              # no message that came later and expires before this is without a heap entry
    cdef readonly uint64_t expires_next_ms  # nothing falls due before; 0 when nothing ever does
    cdef bint timed                         # in the list of those with something that falls due
    cdef set leaving            # paged messages that were taken out, and that the log has until they are buried
    cdef set apart              # those that are aside although the log has them behind the ring
    cdef uint64_t unseen_from   # paged messages from here to there may expire: nobody has looked yet
    cdef uint64_t unseen_to
    cdef uint64_t seen_chain_end_ms         # as chain_end_ms, of those that were looked at

    # A message enters: it gets its number, and what is to be logged is; `commit` becomes what there is to wait for, if
    # that is later than what it is. True when it needs no place in memory.
    cdef inline bint admit(self, Entry *entry, uint64_t *commit) except -1:
        entry.sequence = self.next_sequence
        self.next_sequence += 1
        if self.log is None and (self.ring.tail == self.ring.head or self.pager is None):
            return False
        return self.admit_logged(entry, commit)

    cdef bint admit_logged(self, Entry *entry, uint64_t *commit) except -1
    # It waits. Takes over the reference, here and below.
    cdef int place(self, Entry *entry) except -1
    # It came back to its place; or will, at that time.
    cdef int put_back(self, Entry *entry) except -1
    cdef int put_aside(self, Entry *entry, uint64_t due_ms) except -1
    # Takes the next message out that has not expired, or whichever it is; False when there is none to be read yet.
    cdef bint take_first(self, Entry *entry) except -1
    cdef bint take_oldest(self, Entry *entry) except -1
    # A message that was taken out is done with: the log is told, the reference given up.
    cdef int forget(self, Entry *entry) except -1
    # Drops every ready message; returns how many.
    cdef uint64_t empty(self) except? 0xFFFFFFFFFFFFFFFF
    cdef int drop_aside(self) except -1
    cdef int settle_paged(self) except -1

    # Does the ring hold as much as should be in memory?
    cdef bint is_window_full(self) noexcept
    # What the log kept over a restart: it stays there until it is needed. When the first of it expires (0: never), and
    # which of it is to wait for its time: a dict of sequence -> when it is ready.
    cdef int restore_backlog(self, uint64_t messages, uint64_t body_bytes, uint64_t next_sequence,
                             uint64_t expires_next_ms, bint expires_unevenly) except -1
    cdef int set_aside(self, dict times) except -1
    # The newest message is only in the log.
    cdef int leave_to_log(self, uint64_t sequence, uint64_t body_bytes, uint64_t expires_at_ms) except -1

    # The first in ring or log from that number on, which stays there, with a reference; False when there is none.
    cdef bint peek(self, uint64_t sequence, Entry *entry) except -1

    # A message leaves for that reason. Here it is dropped; a queue may know better.
    cdef int bury(self, Order lane, Entry *entry, Reason reason) except -1
    # What the queue is called, for people.
    cdef bytes title(self)
    # Something is ready that was not.
    cdef int dispatch(self) except -1
    # What was buried is where it belongs.
    cdef int finish_burials(self) except -1
    # Deals with what has fallen due, `limit` messages at most; returns how many it were.
    cdef Py_ssize_t fall_due(self, Py_ssize_t limit) except -1

    cdef int note_due(self, uint64_t expires_at_ms, uint64_t sequence) except -1
    cdef int add_due(self, uint64_t due_ms, uint64_t sequence) except -1
    cdef int expect(self, uint64_t due_ms) except -1
    cdef int drop_stale_due(self) except -1
    cdef bint is_before_head(self, const Due *due) noexcept
    cdef bint expire_head(self) except -1
    cdef Py_ssize_t expire_returned(self, Py_ssize_t limit) except -1
    cdef Py_ssize_t end_waiting(self, Py_ssize_t limit) except -1
    cdef bint expire_at(self, uint64_t sequence) except -1
    # Takes that message out of ring or log. False when it is not there, or cannot be read yet.
    cdef bint take_out(self, uint64_t sequence, Entry *entry) except -1
    cdef bint take_out_paged(self, uint64_t sequence, Entry *entry) except -1
    cdef int look_ahead(self) except -1
    cdef Py_ssize_t look_through(self, Py_ssize_t limit) except -1
    cdef bint is_elsewhere(self, uint64_t sequence) except -1

    cdef bint log_message(self, Entry *entry, uint64_t *commit) except -1
    cdef int refill(self) except -1
    cdef void pop(self, Entry *entry) noexcept
    cdef void count_in(self, uint64_t body_bytes) noexcept
    cdef void count_out(self, uint64_t body_bytes) noexcept

cdef inline bint is_expired(const Entry *entry, uint64_t now_ms) noexcept nogil:
    return entry.expires_at_ms != 0 and entry.expires_at_ms <= now_ms
