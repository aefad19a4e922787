# See _rewrite.pxd for what this module is and is not.

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t
from libc.string cimport memcmp, memcpy

from flowmq._frame cimport (
    FLOWMQ_CONTRACT, Cursor, load_long, load_long_long, load_short, read_short_string, skip_short_string,
    store_long_long,
)
from flowmq._heaps cimport failures_of, returns_of
from flowmq._message cimport (
    Properties, message_body, message_header, message_make_room, message_names, message_new, message_release,
    scan_properties, skip_field_value,
)

from flowmq._frame import check_contract

check_contract(FLOWMQ_CONTRACT)

cdef enum:
    HEADER_FIXED_BYTES = 14
    HEADERS_FLAG = 0x2000
    EXPIRATION_FLAG = 0x0100

# A hundred thousand years: sums of it and any time fit 64 bits.
cdef int64_t DELAY_MS_MAX = 3162240000000000
cdef frozenset DELIVERY_COUNTS = frozenset((b"x-delivery-count", b"x-acquired-count"))


cdef class HeaderFields:

    def __cinit__(self, bytes table not None):
        cdef Cursor cursor
        cdef const uint8_t *begin = <const uint8_t *>PyBytes_AS_STRING(table)
        cdef const uint8_t *name
        cdef Py_ssize_t start
        cdef uint8_t name_bytes
        self.table = table
        self.names = []
        self.starts = []
        self.values = []
        cursor.position = begin
        cursor.end = begin + PyBytes_GET_SIZE(table)
        while cursor.position < cursor.end:
            start = cursor.position - begin
            if not read_short_string(&cursor, &name, &name_bytes):
                break
            self.values.append(cursor.position - begin)
            if not skip_field_value(&cursor):
                self.values.pop()
                break
            self.names.append((<const char *>name)[:name_bytes])
            self.starts.append(start)
        else:
            start = PyBytes_GET_SIZE(table)
        self.starts.append(start)

    cdef bytes without(self, object names):
        cdef list kept
        if not any(name in names for name in self.names):
            return self.table
        kept = [
            self.table[self.starts[at]:self.starts[at + 1]] for at, name in enumerate(self.names) if name not in names
        ]
        return b"".join(kept)

    cdef bytes value(self, bytes name):
        cdef Py_ssize_t at
        if name not in self.names:
            return None
        at = self.names.index(name)
        return self.table[self.values[at]:self.starts[at + 1]]


cdef HeaderFields header_fields(Message *message):
    cdef const char *table = message_header(message) + message.headers_at
    return HeaderFields(table[:message.headers_bytes] if message.headers_bytes else b"")


cdef bytes exchange_of(Message *message):
    cdef const char *names = message_names(message)
    return names[1:1 + <uint8_t>names[0]]


cdef bytes routing_key_of(Message *message):
    cdef const char *names = message_names(message)
    return names[2 + <uint8_t>names[0]:message.names_bytes]


cdef bytes expiration_of(Message *message):
    cdef Properties properties
    cdef const char *payload = message_header(message)
    scan_properties(<const uint8_t *>payload, message.header_bytes, &properties)
    if properties.expiration_at == 0:
        return None
    return payload[properties.expiration_at:properties.expiration_at + properties.expiration_bytes]


cdef int64_t delay_of(Message *message) noexcept nogil:
    return delay_in(<const uint8_t *>message_header(message) + message.headers_at, message.headers_bytes)


cdef int64_t delay_in(const uint8_t *table, uint32_t table_bytes) noexcept nogil:
    cdef Cursor cursor
    if not find_field(table, table_bytes, b"x-delay", 7, &cursor):
        return 0
    return max(<int64_t>0, min(integer_at(&cursor), DELAY_MS_MAX))


cdef bint is_not_to_be_kept(Message *message) noexcept nogil:
    cdef const uint8_t *table = <const uint8_t *>message_header(message) + message.headers_at
    cdef Cursor cursor
    if not find_field(table, message.headers_bytes, b"x-recent-history-no-store", 25, &cursor):
        return False
    return cursor.end - cursor.position >= 2 and cursor.position[0] == c"t" and cursor.position[1] != 0


cdef bint find_field(const uint8_t *table, uint32_t table_bytes, const char *wanted, uint8_t wanted_bytes,
                     Cursor *cursor) noexcept nogil:
    """Moves the cursor to a field's type. False when there is none of that name."""
    cdef const uint8_t *name
    cdef uint8_t name_bytes
    cursor.position = table
    cursor.end = table + table_bytes
    while cursor.position < cursor.end:
        if not read_short_string(cursor, &name, &name_bytes):
            return False
        if name_bytes == wanted_bytes and memcmp(name, wanted, wanted_bytes) == 0:
            return True
        if not skip_field_value(cursor):
            return False
    return False


cdef int64_t integer_at(Cursor *cursor) noexcept nogil:
    """A field's value when it is an integer, else 0."""
    cdef Py_ssize_t left = cursor.end - cursor.position
    cdef const uint8_t *at = cursor.position + 1
    cdef uint8_t kind = cursor.position[0] if left > 1 else 0
    if kind == c"l" and left >= 9:
        return <int64_t>load_long_long(at)
    if kind == c"I" and left >= 5:
        return <int32_t>load_long(at)
    if kind == c"i" and left >= 5:
        return load_long(at)
    if kind == c"s" and left >= 3:
        return <int16_t>load_short(at)
    if kind == c"u" and left >= 3:
        return load_short(at)
    if kind == c"b":
        return <int8_t>at[0]
    return at[0] if kind == c"B" else 0


cdef bytes payload_with(Message *message, bytes headers, bint with_expiration):
    """The content header payload with that headers table."""
    cdef Properties properties
    cdef Cursor cursor
    cdef const char *payload = message_header(message)
    cdef uint16_t flags = load_short(<const uint8_t *>payload + HEADER_FIXED_BYTES - 2)
    cdef Py_ssize_t headers_at, behind
    cdef bytes rest
    scan_properties(<const uint8_t *>payload, message.header_bytes, &properties)
    cursor.position = <const uint8_t *>payload + HEADER_FIXED_BYTES
    cursor.end = <const uint8_t *>payload + message.header_bytes
    if flags & 0x8000:
        skip_short_string(&cursor)
    if flags & 0x4000:
        skip_short_string(&cursor)
    headers_at = cursor.position - <const uint8_t *>payload
    behind = headers_at
    if flags & HEADERS_FLAG:
        behind += 4 + properties.headers_bytes
    if properties.expiration_at and not with_expiration:
        flags &= ~<uint16_t>EXPIRATION_FLAG
        rest = payload[behind:properties.expiration_at - 1]
        rest += payload[properties.expiration_at + properties.expiration_bytes:message.header_bytes]
    else:
        rest = payload[behind:message.header_bytes]
    return b"".join((
        payload[:HEADER_FIXED_BYTES - 2], (flags | HEADERS_FLAG).to_bytes(2, "big"),
        payload[HEADER_FIXED_BYTES:headers_at], len(headers).to_bytes(4, "big"), headers, rest,
    ))


cdef Message *with_other_headers(Message *message, bytes names, bytes headers, bint with_expiration) except NULL:
    cdef bytes payload = payload_with(message, headers, with_expiration)
    cdef Properties properties
    cdef Message *copy
    cdef Message *grown
    if names is None:
        names = message_names(message)[:message.names_bytes]
    scan_properties(<const uint8_t *>PyBytes_AS_STRING(payload), <uint32_t>len(payload), &properties)
    copy = message_new(PyBytes_AS_STRING(names), <uint32_t>len(names), <const uint8_t *>PyBytes_AS_STRING(payload),
                       <uint32_t>len(payload), message.body_bytes, &properties)
    if copy == NULL:
        raise MemoryError("a copy of a message")
    copy.died = message.died
    if message.body_bytes:
        grown = message_make_room(copy, message.body_bytes)
        if grown == NULL:
            message_release(copy)
            raise MemoryError("a copy of a message")
        copy = grown
        memcpy(message_body(copy), message_body(message), message.body_bytes)
    return copy


cdef Message *with_delivery_counts(Message *message, uint32_t delivery_count) except NULL:
    cdef bytes headers = header_fields(message).without(DELIVERY_COUNTS)
    cdef Message *copy
    headers += counted(b"x-delivery-count", failures_of(delivery_count))
    headers += counted(b"x-acquired-count", returns_of(delivery_count))
    copy = with_other_headers(message, None, headers, True)
    # What its queue's log took it for may be more than its publisher said.
    copy.delivery_mode = message.delivery_mode
    message_release(message)
    return copy


cdef bytes counted(bytes name, uint32_t number):
    cdef char octets[8]
    store_long_long(octets, number)
    return bytes((len(name),)) + name + b"l" + octets[:8]
