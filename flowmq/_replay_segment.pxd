# One segment in memory: does what stands in it check, and where does it go on when it does not?
#
# Octets and their checksums only (docs/format.md); what the records mean for queues is the business of _replay. Each
# payload is checked for making sense too, so that whoever applies it need not ask again.

from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef extern from * nogil:
    """
    #ifndef FLOWMQ_REPLAY_NUMBERS
    #define FLOWMQ_REPLAY_NUMBERS
    #include <stdint.h>
    /* The journal's numbers are little-endian, those of AMQP are not. */
    static inline uint32_t replay_u32(const uint8_t *at) {
        return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
    }
    static inline uint64_t replay_u64(const uint8_t *at) {
        return replay_u32(at) | (uint64_t)replay_u32(at + 4) << 32;
    }
    #endif
    """
    uint32_t replay_u32(const uint8_t *at)
    uint64_t replay_u64(const uint8_t *at)

cdef enum:
    HEADER_OCTETS = 64
    BATCH_HEAD_OCTETS = 40
    RECORD_HEAD_OCTETS = 12
    MESSAGE_FIXED_OCTETS = 48
    TARGET_OCTETS = 40
    STATE_FIXED_OCTETS = 24
    FLAG_UNTIL_RESTART = 2  # of message and target records
    FORMAT_VERSION = 1

    RECORD_NOTHING = 0      # payload without meaning: stands where something was taken out
    RECORD_MESSAGE = 1
    RECORD_TARGET = 2
    RECORD_SETTLED = 3
    RECORD_DELIVERED = 4
    RECORD_RETURNED = 5
    RECORD_STATE = 6
    RECORD_DEFINITION = 7
    RECORD_DEFINITIONS = 8
    RECORD_GONE = 9
    RECORD_SUMMARY = 10
    RECORD_ASIDE = 11

cdef struct Octets:
    # A segment in memory, up to where its batches may go.
    const uint8_t *start
    uint64_t size
    uint64_t number
    uint32_t seed

cdef struct Batch:
    uint64_t at
    uint64_t end
    uint64_t number
    uint64_t durable_segment
    uint64_t durable_offset
    uint32_t records
    const char *fault           # why it cannot be read, or NULL
    uint64_t fault_at
    bint written_so             # the fault has a checksum that fits: nothing tore it

cdef struct Survey:
    # What the batch heads that check say about the octets from a position on.
    uint64_t end                # of the last octet that a batch claims; 0 when there is none
    uint64_t highest_number
    uint64_t durable_segment    # everything before this place was on disk; 0 when none says so
    uint64_t durable_offset

# Is there the head of a batch? If so, `batch` has what it says.
cdef bint head_checks(const Octets *segment, uint64_t at, Batch *batch) noexcept nogil
# Does the record at `at`, which ends before `end`, check?
cdef bint record_checks(const Octets *segment, uint64_t at, uint64_t end) noexcept nogil
# Checks the batch at `at` whole, number and records included; batch.fault tells.
cdef void check_batch(const Octets *segment, uint64_t at, uint64_t number_before, Batch *batch) noexcept nogil
# Is there a message record whose sizes make sense, ending before `until`? Says nothing about its checksum.
cdef bint is_message(const Octets *segment, uint64_t at, uint64_t until) noexcept nogil
# The heads from `begin` on. Older numbers are what an earlier cut left: they claim nothing.
cdef Survey survey(const Octets *segment, uint64_t begin, uint64_t number_before) noexcept nogil
# Does something look like the beginning of a later batch whose head does not check?
cdef bint has_torn_head(const Octets *segment, uint64_t at, uint64_t number_before) noexcept nogil
# The next batch that checks whole; 0 when there is none.
cdef uint64_t next_good(const Octets *segment, uint64_t begin, uint64_t number_before) noexcept nogil
# Does it say that something at or behind that place was on disk?
cdef bint vouches(const Survey *seen, uint64_t number, uint64_t at) noexcept nogil
# For a segment whose header does not check: finds the seed it claims, or that its first batch must have had.
cdef bint find_seed(Octets *segment, uint32_t claimed) noexcept nogil
