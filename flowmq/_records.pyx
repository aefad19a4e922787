# See _records.pxd for what this module is and is not.

from libc.string cimport memcpy, memset

from flowmq._checksum cimport crc32c
from flowmq._frame cimport FLOWMQ_CONTRACT
from flowmq._message cimport (
    Properties, message_body, message_header, message_make_room, message_names, message_new, message_release,
    scan_properties,
)

from flowmq._frame import check_contract

check_contract(FLOWMQ_CONTRACT)

cdef extern from *:
    """
    #if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
    #error "the journal is written as it lies in memory, little-endian"
    #endif
    """


cdef uint32_t record_checksum(const char *record, uint32_t seed, size_t payload_bytes) noexcept nogil:
    # The size in front counts, the checksum's own octets do not.
    return crc32c(crc32c(seed, record, 4), record + 8, 4 + payload_bytes)


cdef size_t finish_record(char *at, uint32_t seed, RecordType type, size_t payload_bytes) noexcept nogil:
    cdef RecordHeader *header = <RecordHeader *>at
    header.payload_bytes = <uint32_t>payload_bytes
    header.type = <uint8_t>type
    memset(header.zero, 0, 3)
    header.checksum = record_checksum(at, seed, payload_bytes)
    return RECORD_HEADER_BYTES + payload_bytes


cdef size_t put_message(char *at, uint32_t seed, const Place *place, Message *message) noexcept nogil:
    cdef MessageRecord *record = <MessageRecord *>(at + RECORD_HEADER_BYTES)
    cdef char *octets = at + RECORD_HEADER_BYTES + sizeof(MessageRecord)
    record.place = place[0]
    record.names_bytes = message.names_bytes
    record.header_bytes = message.header_bytes
    record.message_flags = (DIED if message.died else 0) | (BLIND if message.blind else 0)
    record.body_bytes = message.body_bytes
    memcpy(octets, message_names(message), message.names_bytes)
    octets += message.names_bytes
    memcpy(octets, message_header(message), message.header_bytes)
    if message.body_bytes:
        memcpy(octets + message.header_bytes, message_body(message), message.body_bytes)
    return finish_record(at, seed, MESSAGE_RECORD, message_record_bytes(message) - RECORD_HEADER_BYTES)


cdef size_t put_record(char *at, uint32_t seed, RecordType type, const void *payload,
                       size_t payload_bytes) noexcept nogil:
    memcpy(at + RECORD_HEADER_BYTES, payload, payload_bytes)
    return finish_record(at, seed, type, payload_bytes)


cdef void put_batch_header(char *at, uint32_t seed, uint64_t number, uint32_t payload_bytes, uint32_t record_count,
                           uint64_t durable_segment, uint64_t durable_offset) noexcept nogil:
    cdef BatchHeader *header = <BatchHeader *>at
    memcpy(header.magic, b"BTCH", 4)
    header.number = number
    header.payload_bytes = payload_bytes
    header.record_count = record_count
    header.durable_segment = durable_segment
    header.durable_offset = durable_offset
    header.checksum = crc32c(seed, at + 8, BATCH_HEADER_BYTES - 8)


cdef void put_segment_header(char *at, uint32_t seed, uint64_t number, uint64_t size, uint64_t previous_number,
                             uint64_t previous_end, uint64_t previous_summary) noexcept nogil:
    cdef SegmentHeader *header = <SegmentHeader *>at
    memset(header, 0, SEGMENT_HEADER_BYTES)
    memcpy(header.magic, b"FLOWMQ\x00\x01", 8)
    header.version = FORMAT_VERSION
    header.seed = seed
    header.number = number
    header.previous_number = previous_number
    header.previous_end = previous_end
    header.size = size
    header.previous_summary = previous_summary
    header.checksum = crc32c(0, at, SEGMENT_HEADER_BYTES - 4)


cdef bint record_checks(const char *at, size_t limit, uint32_t seed) noexcept nogil:
    cdef const RecordHeader *header = <const RecordHeader *>at
    if limit < RECORD_HEADER_BYTES or header.payload_bytes > limit - RECORD_HEADER_BYTES:
        return False
    return header.checksum == record_checksum(at, seed, header.payload_bytes)


cdef Message *message_of(const char *record) noexcept nogil:
    cdef const MessageRecord *fixed = <const MessageRecord *>(record + RECORD_HEADER_BYTES)
    cdef const char *names = record + RECORD_HEADER_BYTES + sizeof(MessageRecord)
    cdef const uint8_t *header = <const uint8_t *>names + fixed.names_bytes
    cdef Properties properties
    cdef Message *message
    cdef Message *grown
    # What was accepted once is well-formed; the scan finds again what the broker acts on.
    scan_properties(header, fixed.header_bytes, &properties)
    message = message_new(names, fixed.names_bytes, header, fixed.header_bytes, fixed.body_bytes, &properties)
    if message == NULL:
        return NULL
    message.died = fixed.message_flags & DIED
    message.blind = (fixed.message_flags & BLIND) != 0
    if fixed.body_bytes == 0:
        return message
    grown = message_make_room(message, fixed.body_bytes)
    if grown == NULL:
        message_release(message)
        return NULL
    memcpy(message_body(grown), header + fixed.header_bytes, fixed.body_bytes)
    return grown
