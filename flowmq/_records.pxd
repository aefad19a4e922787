# How records lie in a segment: the structures of docs/format.md, and writing them at a place that has room.
#
# Little-endian, as they stand in memory here. Knows no files, no queues and no messages beyond their octets.

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from flowmq._message cimport Message

cdef enum:
    FORMAT_VERSION = 1
    SEGMENT_HEADER_BYTES = 64
    BATCH_HEADER_BYTES = 40
    RECORD_HEADER_BYTES = 12
    PENDING_RECORDS_BYTES = 256     # what a queue's log may add when the batch is finished

cdef enum RecordType:
    MESSAGE_RECORD = 1
    TARGET_RECORD = 2
    SETTLED_RECORD = 3
    DELIVERED_RECORD = 4
    RETURNED_RECORD = 5
    QUEUE_STATE_RECORD = 6
    DEFINITION_RECORD = 7
    DEFINITIONS_RECORD = 8
    QUEUE_GONE_RECORD = 9
    SUMMARY_RECORD = 10
    ASIDE_RECORD = 11

cdef enum:
    WAS_DELIVERED = 1           # flags of message and target records
    UNTIL_RESTART = 2           # not persistent: only on disk to be out of memory

cdef enum:
    DIED = 1                    # message_flags
    BLIND = 2

cdef packed struct SegmentHeader:
    char magic[8]
    uint32_t version
    uint32_t seed
    uint64_t number
    uint64_t previous_number
    uint64_t previous_end
    uint64_t size
    uint64_t previous_summary
    char zero[4]
    uint32_t checksum

cdef packed struct BatchHeader:
    char magic[4]
    uint32_t checksum
    uint64_t number
    uint32_t payload_bytes
    uint32_t record_count
    uint64_t durable_segment
    uint64_t durable_offset

cdef packed struct RecordHeader:
    uint32_t payload_bytes
    uint32_t checksum
    uint8_t type
    uint8_t zero[3]

cdef packed struct Place:
    # The first part of message and target records.
    uint32_t queue_id
    uint32_t delivery_count
    uint64_t sequence
    uint64_t expires_at_ms
    uint8_t flags
    uint8_t zero[3]

cdef packed struct MessageRecord:
    Place place
    uint32_t names_bytes
    uint32_t header_bytes
    uint32_t message_flags
    uint64_t body_bytes

cdef packed struct TargetRecord:
    Place place
    uint32_t zero
    uint64_t offset

cdef packed struct RangeRecord:
    # settled: both numbers; delivered: `first` alone, and the record ends behind it
    uint32_t queue_id
    uint32_t zero
    uint64_t first
    uint64_t last

cdef packed struct ReturnedRecord:
    uint32_t queue_id
    uint32_t delivery_count
    uint64_t sequence

cdef packed struct AsideRecord:
    ReturnedRecord returned
    uint64_t ready_at_ms

cdef packed struct QueueStateRecord:
    uint32_t queue_id
    uint32_t range_count
    uint64_t next_sequence
    uint64_t delivered_up_to

cdef packed struct Range:
    uint64_t first
    uint64_t last

cdef inline uint64_t message_record_bytes(Message *message) noexcept nogil:
    return RECORD_HEADER_BYTES + sizeof(MessageRecord) + message.names_bytes + message.header_bytes + message.body_bytes

# Each writes one record at `at` and returns its size.
cdef size_t put_message(char *at, uint32_t seed, const Place *place, Message *message) noexcept nogil
cdef size_t put_record(char *at, uint32_t seed, RecordType type, const void *payload,
                       size_t payload_bytes) noexcept nogil
cdef void put_batch_header(char *at, uint32_t seed, uint64_t number, uint32_t payload_bytes, uint32_t record_count,
                           uint64_t durable_segment, uint64_t durable_offset) noexcept nogil
cdef void put_segment_header(char *at, uint32_t seed, uint64_t number, uint64_t size, uint64_t previous_number,
                             uint64_t previous_end, uint64_t previous_summary) noexcept nogil
# Does the record at `at`, of which `limit` octets can be read, check?
cdef bint record_checks(const char *at, size_t limit, uint32_t seed) noexcept nogil
# The message that a message record which checks holds, with one reference; NULL when memory is out.
cdef Message *message_of(const char *record) noexcept nogil
