# Copies of a message with other headers, another expiration, other names: what a broker may change of a message.
#
# Header tables are taken apart field by field and put together again octet for octet; values are never decoded.

from libc.stdint cimport int64_t, uint8_t, uint32_t

from flowmq._message cimport Message

cdef class HeaderFields:
    # The fields of a message's headers property. A table that cannot be read counts as empty from there on.
    cdef readonly bytes table
    cdef list names             # bytes
    cdef list starts            # of each whole field in `table`, and one more: where the last one ends
    cdef list values            # where its type stands
    # The fields whose names are not among these, as octets.
    cdef bytes without(self, object names)
    # Type letter and value of a field; None when there is none.
    cdef bytes value(self, bytes name)

cdef HeaderFields header_fields(Message *message)

# The names of a message, as bytes.
cdef bytes exchange_of(Message *message)
cdef bytes routing_key_of(Message *message)
# The expiration property; None when there is none.
cdef bytes expiration_of(Message *message)

# How long a message is to be delayed, in milliseconds: its header x-delay when that is a positive integer, else 0.
cdef int64_t delay_of(Message *message) noexcept nogil
# The same by the headers property alone.
cdef int64_t delay_in(const uint8_t *table, uint32_t table_bytes) noexcept nogil

# Does that headers table say that a recent history is not to keep the message?
cdef bint is_not_to_be_kept(Message *message) noexcept nogil

# A copy with one reference: `names` are exchange and routing key as short strings, None the same; `headers` a table
# without its length.
cdef Message *with_other_headers(Message *message, bytes names, bytes headers, bint with_expiration) except NULL

# The same message saying in its headers how often it came back. Takes over the reference to the old one.
cdef Message *with_delivery_counts(Message *message, uint32_t delivery_count) except NULL
