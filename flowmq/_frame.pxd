# Bytes in, bytes out: the octets of AMQP frames and nothing of their meaning.
#
# Holds the big-endian loads and stores, the cursor every received octet is read through, the output buffer every sent
# octet is written to, and the read buffer all connections share. Knows no channels, queues or messages.
#
# A frame is: type (1), channel (2), payload size (4), payload, 0xCE.

from cpython.object cimport PyObject
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

cdef extern from *:
    """
    #ifndef FLOWMQ_CONTRACT
    #error "build with setup.py: it defines FLOWMQ_CONTRACT"
    #endif
    """
    const char *FLOWMQ_CONTRACT

cdef extern from * nogil:
    """
    #ifndef FLOWMQ_BYTE_ORDER
    #define FLOWMQ_BYTE_ORDER
    #include <stdint.h>
    #include <string.h>
    #if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    #define FLOWMQ_SWAP16(x) __builtin_bswap16(x)
    #define FLOWMQ_SWAP32(x) __builtin_bswap32(x)
    #define FLOWMQ_SWAP64(x) __builtin_bswap64(x)
    #else
    #define FLOWMQ_SWAP16(x) (x)
    #define FLOWMQ_SWAP32(x) (x)
    #define FLOWMQ_SWAP64(x) (x)
    #endif
    static inline uint16_t load_short(const void *p) { uint16_t v; memcpy(&v, p, 2); return FLOWMQ_SWAP16(v); }
    static inline uint32_t load_long(const void *p) { uint32_t v; memcpy(&v, p, 4); return FLOWMQ_SWAP32(v); }
    static inline uint64_t load_long_long(const void *p) { uint64_t v; memcpy(&v, p, 8); return FLOWMQ_SWAP64(v); }
    static inline void store_short(void *p, uint16_t v) { v = FLOWMQ_SWAP16(v); memcpy(p, &v, 2); }
    static inline void store_long(void *p, uint32_t v) { v = FLOWMQ_SWAP32(v); memcpy(p, &v, 4); }
    static inline void store_long_long(void *p, uint64_t v) { v = FLOWMQ_SWAP64(v); memcpy(p, &v, 8); }
    #endif
    """
    uint16_t load_short(const void *p)
    uint32_t load_long(const void *p)
    uint64_t load_long_long(const void *p)
    void store_short(void *p, uint16_t v)
    void store_long(void *p, uint32_t v)
    void store_long_long(void *p, uint64_t v)

cdef enum:
    FRAME_METHOD = 1
    FRAME_HEADER = 2
    FRAME_BODY = 3
    FRAME_HEARTBEAT = 8
    FRAME_END = 0xCE
    FRAME_PREFIX_BYTES = 7      # type, channel, size
    FRAME_OVERHEAD_BYTES = 8    # prefix and end octet
    READ_BUFFER_BYTES = 262144  # one read at most: also the budget of one connection's turn
    UNFINISHED_BYTES_MAX = 262144   # room in front of a read for an unfinished frame put back

    # class and method in one number, as they stand at the front of a method frame
    EXCHANGE_DECLARE = 0x0028000A
    EXCHANGE_BIND = 0x0028001E
    QUEUE_DECLARE = 0x0032000A
    QUEUE_BIND = 0x00320014
    BASIC_PUBLISH = 0x003C0028

cdef inline bint frame_ends_well(const uint8_t *frame) noexcept nogil:
    return (frame + FRAME_PREFIX_BYTES)[load_long(frame + 3)] == FRAME_END

cdef inline uint32_t frame_method(const uint8_t *frame) noexcept nogil:
    # Class and method in one number; 0 of any other frame. Of a method's frame 11 octets have to be there.
    return load_long(frame + FRAME_PREFIX_BYTES) if frame[0] == FRAME_METHOD else 0

cdef inline bint frame_declares(const uint8_t *frame) noexcept nogil:
    # Is it a method that declares or binds, and does nothing else?
    cdef uint32_t method = frame_method(frame)
    return method == QUEUE_DECLARE or method == QUEUE_BIND or method == EXCHANGE_DECLARE or method == EXCHANGE_BIND

cdef struct Cursor:
    # A view of received octets that knows its end. Dies with the frame it was opened on.
    const uint8_t *position
    const uint8_t *end

cdef inline bint read_octet(Cursor *cursor, uint8_t *value) noexcept nogil:
    if cursor.position >= cursor.end:
        return False
    value[0] = cursor.position[0]
    cursor.position += 1
    return True

cdef inline bint skip_bytes(Cursor *cursor, size_t count) noexcept nogil:
    if <size_t>(cursor.end - cursor.position) < count:
        return False
    cursor.position += count
    return True

cdef inline bint read_short_string(Cursor *cursor, const uint8_t **text, uint8_t *text_bytes) noexcept nogil:
    if not read_octet(cursor, text_bytes):
        return False
    text[0] = cursor.position
    return skip_bytes(cursor, text_bytes[0])

cdef inline bint skip_short_string(Cursor *cursor) noexcept nogil:
    cdef uint8_t text_bytes
    return read_octet(cursor, &text_bytes) and skip_bytes(cursor, text_bytes)

cdef struct OutputBuffer:
    # Octets waiting for one transport write. They gather directly in a bytes object that is handed to the transport
    # whole, so that what is sent is copied once. Empty buffers own nothing.
    PyObject *storage           # the bytes object being filled, or NULL
    char *data
    Py_ssize_t used
    Py_ssize_t capacity
    Py_ssize_t usual_bytes      # what the last writes needed: the first capacity of the next

cdef int output_grow(OutputBuffer *output, Py_ssize_t more) except -1
cdef object output_take(OutputBuffer *output)
cdef void output_clear(OutputBuffer *output) noexcept
# The same, of what was written straight from the buffer.
cdef void output_sent(OutputBuffer *output) noexcept
# Memory of all output buffers, and of what was taken from them as far as somebody tells how much came or went (< 0).
cdef Py_ssize_t output_bytes_alive() noexcept nogil
cdef void count_taken_output(Py_ssize_t change) noexcept nogil

cdef inline char *output_reserve(OutputBuffer *output, Py_ssize_t more) except NULL:
    # Room for `more` octets; the caller writes them and adds what it wrote to `used`.
    if output.used + more > output.capacity:
        output_grow(output, more)
    return output.data + output.used

cdef inline char *put_frame_prefix(char *at, uint8_t kind, uint16_t channel, uint32_t payload_bytes) noexcept nogil:
    at[0] = <char>kind
    store_short(at + 1, channel)
    store_long(at + 3, payload_bytes)
    return at + FRAME_PREFIX_BYTES

cdef int output_frame(OutputBuffer *output, uint8_t kind, uint16_t channel, const char *payload,
                      Py_ssize_t payload_bytes) except -1
cdef int output_confirm(OutputBuffer *output, uint16_t channel, uint64_t delivery_tag, bint multiple,
                        bint positive) except -1

cdef class ReadBuffer:
    # The octets being read, for every connection in turn: a read is consumed before the next one begins. What a
    # connection could not consume (an unfinished frame) it copies aside and puts back in front before its next read.
    cdef char *data
    cdef Py_ssize_t offset      # where the transport may write now
    cdef Py_ssize_t limit       # how much it may write there
