# See _rewrite.pxd for what this module is and is not.

from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcmp, memcpy, strlen

from flowmq._frame cimport (
    FLOWMQ_CONTRACT, load_long, load_long_long, load_short, read_short_string, skip_short_string, store_long,
    store_long_long, store_short,
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
    FLAGS_AT = 12
    HEADERS_FLAG = 0x2000
    EXPIRATION_FLAG = 0x0100
    WRITER_BYTES_USUAL = 1024
    WRITER_BYTES_KEPT = 65536

# A hundred thousand years: sums of it and any time fit 64 bits.
cdef int64_t DELAY_MS_MAX = 3162240000000000
cdef HeaderWriter the_writer
the_writer.data = NULL
the_writer.used = the_writer.capacity = 0


# ------------------------------------------------------------------------------------------------------ reading

cdef void begin_fields(Message *message, Cursor *cursor) noexcept nogil:
    cursor.position = <const uint8_t *>message_header(message) + message.headers_at
    cursor.end = cursor.position + message.headers_bytes


cdef bint next_field(Cursor *cursor, Field *field) noexcept nogil:
    if cursor.position >= cursor.end:
        return False
    field.start = cursor.position
    if not read_short_string(cursor, &field.name, &field.name_bytes):
        return False
    field.value = cursor.position
    if not skip_field_value(cursor):
        return False
    field.end = cursor.position
    return True


cdef bint is_named(const Field *field, const char *name) noexcept nogil:
    cdef size_t name_bytes = strlen(name)
    return field.name_bytes == name_bytes and memcmp(field.name, name, name_bytes) == 0


cdef bint enter_value(const uint8_t *value, const uint8_t *end, uint8_t kind, Cursor *inside) noexcept nogil:
    cdef uint32_t value_bytes
    if end - value < 5 or value[0] != kind:
        return False
    value_bytes = load_long(value + 1)
    if <uint64_t>(end - value - 5) < value_bytes:
        return False
    inside.position = value + 5
    inside.end = value + 5 + value_bytes
    return True


cdef bint next_text(Cursor *cursor, const uint8_t **text, uint32_t *text_bytes) noexcept nogil:
    cdef Cursor inside
    if not enter_value(cursor.position, cursor.end, c"S", &inside):
        return False
    text[0] = inside.position
    text_bytes[0] = <uint32_t>(inside.end - inside.position)
    cursor.position = inside.end
    return True


cdef bytes header_value(Message *message, bytes name):
    cdef Cursor cursor
    cdef Field field
    begin_fields(message, &cursor)
    while next_field(&cursor, &field):
        # Not is_named(): whoever chose this name may have put a zero octet into it.
        if field.name_bytes == len(name) and memcmp(field.name, <const char *>name, field.name_bytes) == 0:
            return (<const char *>field.value)[:field.end - field.value]
    return None


cdef bytes exchange_of(Message *message):
    cdef const char *names = message_names(message)
    return names[1:1 + <uint8_t>names[0]]


cdef int64_t delay_of(Message *message) noexcept nogil:
    cdef const uint8_t *table = <const uint8_t *>message_header(message) + message.headers_at
    cdef Cursor cursor
    if not find_field(table, message.headers_bytes, b"x-delay", 7, &cursor):
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


# ------------------------------------------------------------------------------------------------------ writing

cdef char *make_room(HeaderWriter *writer, size_t count) except NULL:
    cdef size_t wanted = writer.used + count
    cdef void *moved
    if wanted > writer.capacity:
        wanted = max(wanted, max(writer.capacity * 2, <size_t>WRITER_BYTES_USUAL))
        moved = realloc(writer.data, wanted)
        if moved == NULL:
            raise MemoryError("headers of a message")
        writer.data = <char *>moved
        writer.capacity = wanted
    return writer.data + writer.used


cdef int put_octets(HeaderWriter *writer, const void *octets, size_t count) except -1:
    memcpy(make_room(writer, count), octets, count)
    writer.used += count
    return 0


cdef int put_field(HeaderWriter *writer, const Field *field) except -1:
    return put_octets(writer, field.start, <size_t>(field.end - field.start))


cdef int put_name(HeaderWriter *writer, const char *name) except -1:
    cdef size_t name_bytes = strlen(name)
    cdef char *at = make_room(writer, 1 + name_bytes)
    at[0] = <char>name_bytes
    memcpy(at + 1, name, name_bytes)
    writer.used += 1 + name_bytes
    return 0


cdef int put_text(HeaderWriter *writer, const void *text, size_t text_bytes) except -1:
    cdef char *at = make_room(writer, 5 + text_bytes)
    at[0] = c"S"
    store_long(at + 1, <uint32_t>text_bytes)
    memcpy(at + 5, text, text_bytes)
    writer.used += 5 + text_bytes
    return 0


cdef int put_number(HeaderWriter *writer, uint8_t kind, uint64_t number) except -1:
    cdef char *at = make_room(writer, 9)
    at[0] = <char>kind
    store_long_long(at + 1, number)
    writer.used += 9
    return 0


cdef size_t begin_sized(HeaderWriter *writer, uint8_t kind) except? 0:
    make_room(writer, 5)[0] = <char>kind
    writer.used += 5
    return writer.used


cdef void end_sized(HeaderWriter *writer, size_t at) noexcept nogil:
    store_long(writer.data + at - 4, <uint32_t>(writer.used - at))


cdef HeaderWriter *begin_copy(Message *message) except NULL:
    cdef HeaderWriter *writer = &the_writer
    cdef const uint8_t *payload = <const uint8_t *>message_header(message)
    cdef uint16_t flags = load_short(payload + FLAGS_AT)
    cdef Cursor cursor
    cdef uint32_t table_at
    writer.used = 0
    cursor.position = payload + HEADER_FIXED_BYTES
    cursor.end = payload + message.header_bytes
    if flags & 0x8000:
        skip_short_string(&cursor)
    if flags & 0x4000:
        skip_short_string(&cursor)
    table_at = <uint32_t>(cursor.position - payload)
    writer.rest_at = table_at
    if flags & HEADERS_FLAG:
        writer.rest_at += 4 + load_long(cursor.position)
    put_octets(writer, payload, table_at)
    store_short(writer.data + FLAGS_AT, flags | HEADERS_FLAG)
    make_room(writer, 4)
    writer.used += 4
    writer.table_at = writer.used
    return writer


cdef int put_rest(HeaderWriter *writer, Message *message, bint with_expiration) except -1:
    """The properties behind the headers."""
    cdef Properties properties
    cdef const char *payload = message_header(message)
    cdef uint32_t behind
    scan_properties(<const uint8_t *>payload, message.header_bytes, &properties)
    if properties.expiration_at == 0 or with_expiration:
        return put_octets(writer, payload + writer.rest_at, message.header_bytes - writer.rest_at)
    store_short(writer.data + FLAGS_AT, load_short(writer.data + FLAGS_AT) & ~<uint16_t>EXPIRATION_FLAG)
    put_octets(writer, payload + writer.rest_at, properties.expiration_at - 1 - writer.rest_at)
    behind = properties.expiration_at + properties.expiration_bytes
    return put_octets(writer, payload + behind, message.header_bytes - behind)


cdef Message *end_copy(HeaderWriter *writer, Message *message, const char *names, uint32_t names_bytes,
                       bint with_expiration) except NULL:
    cdef Properties properties
    cdef Message *copy
    cdef Message *grown
    end_sized(writer, writer.table_at)
    put_rest(writer, message, with_expiration)
    if names == NULL:
        names = message_names(message)
        names_bytes = message.names_bytes
    scan_properties(<const uint8_t *>writer.data, <uint32_t>writer.used, &properties)
    copy = message_new(names, names_bytes, <const uint8_t *>writer.data, <uint32_t>writer.used, message.body_bytes,
                       &properties)
    if writer.capacity > WRITER_BYTES_KEPT:
        free(writer.data)
        writer.data = NULL
        writer.capacity = 0
    if copy == NULL:
        raise MemoryError("a copy of a message")
    copy.died = message.died
    copy.blind = message.blind
    if message.body_bytes:
        grown = message_make_room(copy, message.body_bytes)
        if grown == NULL:
            message_release(copy)
            raise MemoryError("a copy of a message")
        copy = grown
        memcpy(message_body(copy), message_body(message), message.body_bytes)
    return copy


cdef Message *with_delivery_counts(Message *message, uint32_t delivery_count) except NULL:
    cdef HeaderWriter *writer = begin_copy(message)
    cdef Cursor cursor
    cdef Field field
    cdef Message *copy
    begin_fields(message, &cursor)
    while next_field(&cursor, &field):
        if not is_named(&field, b"x-delivery-count") and not is_named(&field, b"x-acquired-count"):
            put_field(writer, &field)
    put_name(writer, b"x-delivery-count")
    put_number(writer, c"l", failures_of(delivery_count))
    put_name(writer, b"x-acquired-count")
    put_number(writer, c"l", returns_of(delivery_count))
    copy = end_copy(writer, message, NULL, 0, True)
    # What its queue's log took it for may be more than its publisher said.
    copy.delivery_mode = message.delivery_mode
    message_release(message)
    return copy


cdef Message *without_blind_keys(Message *message) except NULL:
    cdef HeaderWriter *writer = begin_copy(message)
    cdef Message *copy
    cdef Cursor cursor
    cdef Field field
    begin_fields(message, &cursor)
    while next_field(&cursor, &field):
        if not is_named(&field, b"BCC"):
            put_field(writer, &field)
    copy = end_copy(writer, message, NULL, 0, True)
    copy.blind = False
    return copy
