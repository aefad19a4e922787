# What one segment says, without the octets of its messages: where each stands, and every other fact of each queue.
#
# Made record by record, by the journal while it writes and by a replay while it reads. Stands at the end of a segment
# that was left, as a record of its own (docs/format.md): a start reads that instead of the segment, and so does whoever
# wants to know where a message is. Knows no files.
#
# The messages of a queue form parts, each ascending by sequence number and by offset: one, unless compaction wrote old
# ones between new ones. Entries with equal steps share a group, so that a usual backlog costs next to nothing.

from cpython.object cimport PyObject
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from flowmq._intervals cimport IntervalSet

cdef enum:
    IS_TARGET = 1
    IS_UNTIL_RESTART = 2
    EXPIRES_UNEVENLY = 4        # of a part: not each message expires, and not before the one before it

cdef enum:
    # What an encoded summary takes at most: in all, per part, queue and definition, and usually per range.
    SUMMARY_BYTES_MIN = 256
    PART_BYTES_MAX = 160
    FACTS_BYTES_MAX = 64
    RANGE_BYTES_USUAL = 10
    DEFINITION_BYTES_MAX = 6

cdef struct Group:
    # `repeat` messages, each so far behind the one before it.
    uint64_t repeat
    uint64_t sequence_step
    uint64_t offset_step
    uint64_t body_bytes
    uint64_t extra              # of a message: its record without the body; of a target: how far back its message is
    uint32_t kind               # IS_TARGET, IS_UNTIL_RESTART
    size_t next                 # where the group behind it is encoded; its own place while it is open

cdef struct Cursor:
    # Before the first message when it is all zero.
    size_t at
    uint64_t taken              # messages of the group passed, this one included
    Group group
    uint64_t sequence
    uint64_t offset

cdef struct Described:
    uint32_t queue_id
    uint32_t kind
    uint64_t sequence
    uint64_t offset             # of its record
    uint64_t body_bytes
    uint64_t record_bytes       # of its record, whole
    uint64_t message_offset     # of the message record that has the body

cdef class Part:
    cdef readonly uint32_t queue_id
    cdef readonly uint64_t count
    cdef readonly uint64_t last             # sequence number
    cdef uint64_t last_offset
    cdef readonly uint64_t record_bytes     # of its records, together
    cdef readonly uint64_t expires_next_ms  # none expires before; 0 when none ever does
    cdef readonly uint64_t expires_last_ms  # when the newest does
    cdef uint32_t kinds                     # every kind there is in it, and EXPIRES_UNEVENLY
    cdef uint8_t *stream                    # groups that are complete
    cdef size_t bytes
    cdef size_t capacity
    cdef Group open
    cdef Cursor reading                     # where find() was last
    cdef uint64_t sought                    # what it looked for
    cdef Cursor *marks                      # where it has been, ascending: it need not begin at the beginning again
    cdef Py_ssize_t marks_count
    cdef Py_ssize_t marks_capacity

    # Its sequence number and offset are larger than the last. Returns by how much `bytes` has grown.
    cdef size_t append(self, const Described *message, uint64_t expires_at_ms) except? 0xFFFFFFFF
    cdef int close_group(self) except -1
    cdef void group_at(self, size_t at, Group *group) noexcept nogil
    # To the next message. False at the end, where more may come.
    cdef bint advance(self, Cursor *cursor) noexcept nogil
    # On to the first message from that sequence number on; stays where it is if that is behind it. False at the end.
    cdef bint seek(self, Cursor *cursor, uint64_t sequence) noexcept nogil
    # `reading` on, or back, to the first message from that sequence number on.
    cdef bint find(self, uint64_t sequence) noexcept nogil
    cdef void mark(self) noexcept nogil
    cdef Cursor *mark_before(self, uint64_t sequence) noexcept nogil
    cdef void describe(self, const Cursor *cursor, Described *message) noexcept nogil
    cdef bint is_sound(self) noexcept nogil

cdef class Facts:
    # What records other than messages say about one queue. They add up to the same whatever their order.
    cdef readonly bint gone
    cdef readonly uint64_t next_sequence
    cdef readonly uint64_t delivered_up_to
    cdef readonly IntervalSet settled
    cdef readonly dict returned             # sequence -> how often it has come back
    cdef readonly dict aside                # sequence -> when it is ready again, of some of those

    cdef int make_room_for_returned(self) except -1
    # But perhaps that the queue is gone.
    cdef bint says_nothing(self)

cdef class Summary:
    cdef readonly dict parts                # queue id -> list of Part
    cdef readonly dict facts                # queue id -> Facts
    cdef readonly object definitions        # array of offsets of definition records, from the last that lists all
    cdef readonly uint64_t batches
    cdef readonly uint64_t records
    cdef readonly uint64_t record_octets
    cdef readonly uint64_t messages         # of all parts
    cdef readonly uint64_t message_bytes
    cdef readonly Py_ssize_t part_count
    cdef readonly size_t stream_bytes
    cdef Py_ssize_t range_count

    # The part where that message of the queue goes.
    cdef Part part_for(self, uint32_t queue_id, uint64_t sequence)
    cdef int add(self, Part part, const Described *message, uint64_t expires_at_ms) except -1
    cdef Facts facts_for(self, uint32_t queue_id)
    # That queue is deleted.
    cdef int note_gone(self, uint32_t queue_id) except -1
    cdef int settled(self, Facts facts, uint64_t first, uint64_t last) except -1
    cdef int delivered(self, Facts facts, uint64_t sequence) except -1
    cdef int returned(self, Facts facts, uint64_t sequence, uint32_t delivery_count, uint64_t ready_at_ms) except -1
    cdef int add_definition(self, uint64_t offset, bint lists_all) except -1
    # Forgets all but where the messages are.
    cdef int forget_facts(self) except -1
    # As it stands in a record, and back. False when it makes no sense; without streams the parts have no messages.
    cdef bytes encode(self)
    cdef bint decode(self, const uint8_t *octets, size_t count, bint with_streams) except -1

    cdef inline size_t bytes_max(self) noexcept:
        return (SUMMARY_BYTES_MIN + self.stream_bytes + self.part_count * PART_BYTES_MAX
                + len(self.facts) * FACTS_BYTES_MAX + self.range_count * RANGE_BYTES_USUAL
                + len(self.definitions) * DEFINITION_BYTES_MAX)

cdef struct Head:
    Cursor cursor
    PyObject *part              # held by the list

cdef class FileOrder:
    # The messages of a segment as they stand in it, whatever queue they belong to.
    cdef list parts
    cdef Head *heap             # by offset
    cdef Py_ssize_t count
    cdef bint next(self, Described *message) noexcept
    # The same, and stays there.
    cdef bint peek(self, Described *message) noexcept
    cdef void sink(self, Py_ssize_t at) noexcept
