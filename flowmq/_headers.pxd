# Headers as routing sees them: values decoded far enough to be told apart, and the bindings of a headers exchange.
#
# What values mean is the business of flowmq.amqp.tables. The table of bindings is used through _matching.Table.

from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum ValueKind:
    VOID = 0
    BOOLEAN = 1
    NUMBER = 2                  # any integer, a timestamp, and floating-point numbers that are whole
    FRACTION = 3                # other floating-point numbers
    STRING = 4
    DECIMAL = 5
    TABLE = 6
    ARRAY = 7

cdef struct Value:
    # Decoded far enough for equal values to have equal fields (and octets).
    ValueKind kind
    bint negative
    uint64_t bits
    const uint8_t *octets       # into the table
    uint32_t octets_count

# The first field of that name in a field table (without its length). False when there is none: a malformed table has no
# fields.
cdef bint find_value(const uint8_t *table, uint32_t table_bytes, const uint8_t *name, size_t name_bytes,
                     Value *value) noexcept nogil
