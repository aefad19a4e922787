# Copies of a message with other headers, another expiration, other names: what a broker may change of a message.
#
# Header tables are taken apart field by field and put together again octet for octet; values are not decoded. What
# stands behind a field that cannot be read is left out.
#
# A copy is written from front to back: begin_copy(), the fields of its headers, end_copy(). One at a time.

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from flowmq._frame cimport Cursor
from flowmq._message cimport Message

cdef struct Field:
    # A field of a table, as it stands there. Dies with the message.
    const uint8_t *start
    const uint8_t *name
    const uint8_t *value        # type letter, then the value itself
    const uint8_t *end
    uint8_t name_bytes

cdef struct HeaderWriter:
    # A content header payload that is being put together.
    char *data
    size_t used
    size_t capacity
    size_t table_at             # where the length of the headers table stands
    uint32_t rest_at            # what comes behind the table, in the old payload

# The fields of a message's headers property; the next one, False when there is none that can be read.
cdef void begin_fields(Message *message, Cursor *cursor) noexcept nogil
cdef bint next_field(Cursor *cursor, Field *field) noexcept nogil
cdef bint is_named(const Field *field, const char *name) noexcept nogil
# Moves the cursor into an array or a table; False when the value is neither, or is shorter than it says.
cdef bint enter_value(const uint8_t *value, const uint8_t *end, uint8_t kind, Cursor *inside) noexcept nogil
# The next string in an array. False when there is none, or something else stands there.
cdef bint next_text(Cursor *cursor, const uint8_t **text, uint32_t *text_bytes) noexcept nogil
# Type letter and value of a header; None when there is none of that name.
cdef bytes header_value(Message *message, bytes name)

cdef bytes exchange_of(Message *message)
# How long a message is to be delayed, in milliseconds: its header x-delay when that is a positive integer, else 0.
cdef int64_t delay_of(Message *message) noexcept nogil
# Does that headers table say that a recent history is not to keep the message?
cdef bint is_not_to_be_kept(Message *message) noexcept nogil

cdef HeaderWriter *begin_copy(Message *message) except NULL
cdef int put_octets(HeaderWriter *writer, const void *octets, size_t count) except -1
cdef int put_field(HeaderWriter *writer, const Field *field) except -1
cdef int put_name(HeaderWriter *writer, const char *name) except -1
cdef int put_text(HeaderWriter *writer, const void *text, size_t text_bytes) except -1
cdef int put_number(HeaderWriter *writer, uint8_t kind, uint64_t number) except -1
# A value with its length in front, which end_sized() fills in at what begin_sized() has returned.
cdef size_t begin_sized(HeaderWriter *writer, uint8_t kind) except? 0
cdef void end_sized(HeaderWriter *writer, size_t at) noexcept nogil
# A copy with one reference. `names` are exchange and routing key as short strings, NULL the same ones.
cdef Message *end_copy(HeaderWriter *writer, Message *message, const char *names, uint32_t names_bytes,
                       bint with_expiration) except NULL

# The same message as everyone but its publisher may see it, with one reference.
cdef Message *without_blind_keys(Message *message) except NULL

# The same message saying in its headers how often it came back. Takes over the reference to the old one.
cdef Message *with_delivery_counts(Message *message, uint32_t delivery_count) except NULL
