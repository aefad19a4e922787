# See _segment.pxd for what this module is and is not.

from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc, realloc
from posix.unistd cimport pread

from flowmq._frame cimport FLOWMQ_CONTRACT
from flowmq._message cimport message_release
from flowmq._records cimport (
    RECORD_HEADER_BYTES, TARGET_RECORD, RecordHeader, TargetRecord, message_of, record_checks,
)

from flowmq._frame import check_contract

check_contract(FLOWMQ_CONTRACT)

cdef enum:
    MESSAGE_FIXED_BYTES = 60    # record header and the fixed part of a message record
    TARGET_BYTES = 52
    EIO = 5


cdef class Segment:
    """One file of the journal, and which messages are in it."""

    def __cinit__(self, uint64_t number, str path, int fd, uint32_t seed, uint64_t size, uint64_t end):
        self.number = number
        self.path = path
        self.fd = fd
        self.seed = seed
        self.size = size
        self.end = end
        self.states = set()

    def __dealloc__(self):
        self.forget_last_read()
        free(self.index)

    cdef int remember(self, uint32_t queue_id, uint64_t offset, uint64_t sequence, uint64_t record_bytes) except -1:
        self.extend_index(queue_id, offset, sequence)
        self.messages += 1
        self.live += 1
        self.message_bytes += record_bytes
        return 0

    cdef int extend_index(self, uint32_t queue_id, uint64_t offset, uint64_t sequence) except -1:
        cdef Py_ssize_t capacity
        cdef void *moved
        cdef Indexed *entry
        if self.index_count == self.index_capacity:
            capacity = max(<Py_ssize_t>256, self.index_capacity + (self.index_capacity >> 1))
            moved = realloc(self.index, capacity * sizeof(Indexed))
            if moved == NULL:
                raise MemoryError("index of a segment")
            self.index = <Indexed *>moved
            self.index_capacity = capacity
        entry = &self.index[self.index_count]
        entry.queue_id = queue_id
        entry.offset = <uint32_t>offset
        entry.sequence = sequence
        self.index_count += 1
        return 0

    def discard_state(self, queue_id):
        self.states.discard(queue_id)

    @property
    def live_bytes(self) -> int:
        """Octets of live messages, taking all messages here for equally large."""
        return self.message_bytes * self.live // self.messages if self.messages else 0

    cdef Message *read_message(self, uint64_t offset, Place *place) except NULL:
        cdef char start[MESSAGE_FIXED_BYTES]
        cdef RecordHeader *header = <RecordHeader *>start
        cdef uint64_t body_at = offset
        self.read_start(offset, start)
        place[0] = (<Place *>(start + RECORD_HEADER_BYTES))[0]
        if header.type == TARGET_RECORD:
            body_at = (<TargetRecord *>(start + RECORD_HEADER_BYTES)).offset
        if self.last_read != NULL and self.last_read_at == body_at:
            return self.last_read
        self.forget_last_read()
        if body_at != offset:
            self.read_start(body_at, start)
        self.last_read = self.read_whole(body_at, RECORD_HEADER_BYTES + <size_t>header.payload_bytes)
        self.last_read_at = body_at
        return self.last_read

    cdef int read_start(self, uint64_t offset, char *start) except -1:
        # A target record at the very end is shorter than what is asked for.
        if pread(self.fd, start, MESSAGE_FIXED_BYTES, <int64_t>offset) < <Py_ssize_t>TARGET_BYTES:
            raise OSError(EIO, f"{self.path}: no record at {offset}")
        return 0

    cdef Message *read_whole(self, uint64_t offset, size_t record_bytes) except NULL:
        cdef Message *message
        cdef char *record = <char *>malloc(record_bytes)
        if record == NULL:
            raise MemoryError("a record of the journal")
        try:
            size = pread(self.fd, record, record_bytes, <int64_t>offset)
            if size < 0 or not record_checks(record, size, self.seed):
                raise OSError(EIO, f"{self.path}: the record at {offset} is damaged")
            message = message_of(record)
        finally:
            free(record)
        if message == NULL:
            raise MemoryError("a message of the journal")
        return message

    cdef void forget_last_read(self) noexcept:
        if self.last_read != NULL:
            message_release(self.last_read)
            self.last_read = NULL
