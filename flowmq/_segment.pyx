# See _segment.pxd for what this module is and is not.

from libc.stdint cimport int64_t, uint8_t
from libc.stddef cimport size_t
from libc.stdlib cimport free, malloc
from posix.unistd cimport pread

from flowmq._frame cimport FLOWMQ_CONTRACT
from flowmq._message cimport message_release
from flowmq._records cimport (
    BATCH_HEADER_BYTES, MESSAGE_RECORD, RECORD_HEADER_BYTES, SEGMENT_HEADER_BYTES, SUMMARY_RECORD, TARGET_RECORD,
    UNTIL_RESTART, BatchHeader, MessageRecord, Place, RecordHeader, TargetRecord, message_of, record_checks,
)
from flowmq._summary cimport IS_TARGET, IS_UNTIL_RESTART

from flowmq._frame import check_contract

check_contract(FLOWMQ_CONTRACT)

cdef enum:
    FIXED_END_BYTES = 60        # record header and the fixed part of a message record
    CHUNK_BYTES = 524288
    JUMP_BYTES = 32768
    EIO = 5


cdef class Segment:
    """One file of the journal, and which messages are in it."""

    def __cinit__(self, uint64_t number, str path, int fd, uint32_t seed, uint64_t size, uint64_t end):
        self.number = number
        self.path = path
        self.fd = fd
        self.seed = seed
        self.size = size
        self.end = self.readable_end = end
        self.states = set()

    def __dealloc__(self):
        self.forget_last_read()

    cdef int add_message(self, Part part, const Described *message, uint64_t expires_at_ms) except -1:
        self.summary.add(part, message, expires_at_ms)
        self.add_live(1, message.record_bytes)
        return 0

    cdef void add_live(self, uint64_t messages, uint64_t octets) noexcept:
        self.live += messages
        self.counted_live += messages
        self.counted_bytes += octets

    def discard_state(self, queue_id):
        self.states.discard(queue_id)

    @property
    def live_bytes(self) -> int:
        """Octets of live messages, taking all that lived when they were counted for equally large."""
        return self.counted_bytes * self.live // self.counted_live if self.counted_live else 0

    # --------------------------------------------------------------------------------------------- reading back

    cdef int load_summary(self) except -1:
        if self.summary_at == 0 or not self.read_summary():
            self.make_summary()
        return 0

    cdef bint read_summary(self) except -1:
        cdef const RecordHeader *header
        cdef const char *record
        cdef size_t record_bytes
        cdef uint64_t offset = self.summary_at + BATCH_HEADER_BYTES
        cdef Summary summary = Summary()
        try:
            header = <const RecordHeader *>self.view(offset, RECORD_HEADER_BYTES)
            record_bytes = RECORD_HEADER_BYTES + <size_t>header.payload_bytes
            record = self.checked_record(offset, record_bytes)
        except OSError:
            # It can be made again from what it is about.
            return False
        if (<const RecordHeader *>record).type != SUMMARY_RECORD:
            return False
        if not summary.decode(<const uint8_t *>record + RECORD_HEADER_BYTES, record_bytes - RECORD_HEADER_BYTES, True):
            return False
        summary.forget_facts()
        self.summary = summary
        return True

    cdef int make_summary(self) except -1:
        cdef uint64_t offset = SEGMENT_HEADER_BYTES
        cdef uint64_t end
        cdef const RecordHeader *header
        cdef Summary summary = Summary()
        cdef uint64_t record_bytes
        while offset < self.readable_end:
            end = offset + BATCH_HEADER_BYTES
            end += (<const BatchHeader *>self.view(offset, BATCH_HEADER_BYTES)).payload_bytes
            offset += BATCH_HEADER_BYTES
            while offset < end:
                header = <const RecordHeader *>self.view(offset, min(<uint64_t>FIXED_END_BYTES, end - offset))
                record_bytes = RECORD_HEADER_BYTES + <uint64_t>header.payload_bytes
                if header.type == MESSAGE_RECORD or header.type == TARGET_RECORD:
                    self.summarise(summary, header, offset)
                offset += record_bytes
        self.summary = summary
        return 0

    cdef int summarise(self, Summary summary, const RecordHeader *header, uint64_t offset) except -1:
        cdef const Place *place = <const Place *>(<const char *>header + RECORD_HEADER_BYTES)
        cdef uint64_t expires_at_ms = place.expires_at_ms
        cdef Described message
        message.queue_id, message.sequence, message.offset = place.queue_id, place.sequence, offset
        message.kind = IS_UNTIL_RESTART if place.flags & UNTIL_RESTART else 0
        message.record_bytes = RECORD_HEADER_BYTES + <uint64_t>header.payload_bytes
        message.message_offset = offset
        if header.type == TARGET_RECORD:
            message.kind |= IS_TARGET
            message.message_offset = (<const TargetRecord *>place).offset
            place = <const Place *>(self.view(message.message_offset, FIXED_END_BYTES) + RECORD_HEADER_BYTES)
        message.body_bytes = (<const MessageRecord *>place).body_bytes
        return summary.add(summary.part_for(message.queue_id, message.sequence), &message, expires_at_ms)

    cdef void drop_summary(self) noexcept:
        self.summary = None

    cdef const char *view(self, uint64_t offset, size_t count) except NULL:
        global chunk_segment, chunk_offset, chunk_bytes
        cdef size_t wanted
        cdef Py_ssize_t got
        if chunk_segment == self.number and offset >= chunk_offset and offset + count <= chunk_offset + chunk_bytes:
            return chunk + (offset - chunk_offset)
        wanted = JUMP_BYTES
        if chunk_segment == self.number and chunk_offset <= offset <= chunk_offset + chunk_bytes:
            # Reading on from where it was: more will be wanted. After a jump that is not said.
            wanted = CHUNK_BYTES
        wanted = min(max(count, wanted), <size_t>(max(self.readable_end, offset + count) - offset))
        make_chunk_room(wanted)
        got = pread(self.fd, chunk, wanted, <int64_t>offset)
        chunk_segment, chunk_offset, chunk_bytes = self.number, offset, <size_t>max(got, 0)
        if chunk_bytes < count:
            raise OSError(EIO, f"{self.path}: cannot be read at {offset}")
        return chunk

    cdef Message *read_message(self, uint64_t offset, Place *place) except NULL:
        cdef const RecordHeader *header = <const RecordHeader *>self.view(offset, RECORD_HEADER_BYTES)
        cdef size_t record_bytes = RECORD_HEADER_BYTES + <size_t>header.payload_bytes
        cdef const char *record = self.checked_record(offset, record_bytes)
        cdef uint64_t body_at = offset
        place[0] = (<const Place *>(record + RECORD_HEADER_BYTES))[0]
        if (<const RecordHeader *>record).type == TARGET_RECORD:
            body_at = (<const TargetRecord *>(record + RECORD_HEADER_BYTES)).offset
        if self.last_read != NULL and self.last_read_at == body_at:
            return self.last_read
        self.forget_last_read()
        if body_at != offset:
            header = <const RecordHeader *>self.view(body_at, RECORD_HEADER_BYTES)
            record = self.checked_record(body_at, RECORD_HEADER_BYTES + <size_t>header.payload_bytes)
        self.last_read = message_of(record)
        if self.last_read == NULL:
            raise MemoryError("a message of the journal")
        self.last_read_at = body_at
        return self.last_read

    cdef const char *checked_record(self, uint64_t offset, size_t record_bytes) except NULL:
        cdef const char *record
        if offset + record_bytes > self.readable_end:
            raise OSError(EIO, f"{self.path}: corrupt at offset {offset}: the record goes beyond what was written")
        record = self.view(offset, record_bytes)
        if not record_checks(record, record_bytes, self.seed):
            raise OSError(EIO, f"{self.path}: corrupt at offset {offset}: the checksum of a record does not fit")
        return record

    cdef void forget_last_read(self) noexcept:
        if self.last_read != NULL:
            message_release(self.last_read)
            self.last_read = NULL


# What was read last, of whichever segment: reading goes forward, so that one read serves many messages.
cdef char *chunk = NULL
cdef size_t chunk_capacity = 0
cdef uint64_t chunk_segment = 0
cdef uint64_t chunk_offset = 0
cdef size_t chunk_bytes = 0


cdef int make_chunk_room(size_t wanted) except -1:
    global chunk, chunk_capacity, chunk_segment
    chunk_segment = 0
    if wanted <= chunk_capacity and (chunk_capacity <= 4 * CHUNK_BYTES or wanted > CHUNK_BYTES):
        return 0
    free(chunk)
    chunk_capacity = 0
    chunk = <char *>malloc(max(wanted, <size_t>CHUNK_BYTES))
    if chunk == NULL:
        raise MemoryError("reading the journal")
    chunk_capacity = max(wanted, <size_t>CHUNK_BYTES)
    return 0


cdef void forget_chunk(uint64_t number) noexcept:
    global chunk_segment
    if chunk_segment == number:
        chunk_segment = 0
