# The octets of the frames a benchmark meets, and their big-endian numbers. No module of its own, and no code of the
# broker's: a fault in one must not hide the same fault in the other.

from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

cdef extern from "endian.h" nogil:
    uint16_t be16toh(uint16_t value)
    uint32_t be32toh(uint32_t value)
    uint64_t be64toh(uint64_t value)
    uint64_t htobe64(uint64_t value)

cdef enum:
    FRAME_METHOD = 1
    FRAME_HEADER = 2
    FRAME_BODY = 3
    FRAME_HEARTBEAT = 8
    FRAME_END = 0xCE
    FRAME_PREFIX_BYTES = 7
    FRAME_OVERHEAD_BYTES = 8
    FRAME_PAYLOAD_BYTES_MAX = 131072

    # (class << 16) | method
    CONNECTION_CLOSE = 10 << 16 | 50
    CONNECTION_BLOCKED = 10 << 16 | 60
    CONNECTION_UNBLOCKED = 10 << 16 | 61
    CHANNEL_CLOSE = 20 << 16 | 40
    BASIC_CANCEL = 60 << 16 | 30
    BASIC_RETURN = 60 << 16 | 50
    BASIC_DELIVER = 60 << 16 | 60
    BASIC_ACK = 60 << 16 | 80
    BASIC_NACK = 60 << 16 | 120

cdef inline uint16_t load_short(const char *at) noexcept nogil:
    cdef uint16_t value
    memcpy(&value, at, 2)
    return be16toh(value)

cdef inline uint32_t load_long(const char *at) noexcept nogil:
    cdef uint32_t value
    memcpy(&value, at, 4)
    return be32toh(value)

cdef inline uint64_t load_long_long(const char *at) noexcept nogil:
    cdef uint64_t value
    memcpy(&value, at, 8)
    return be64toh(value)

cdef inline void store_long_long(char *at, uint64_t value) noexcept nogil:
    value = htobe64(value)
    memcpy(at, &value, 8)
