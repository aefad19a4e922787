# See _deaths.pxd for what this module is and is not.

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp

from flowmq._frame cimport FLOWMQ_CONTRACT, Cursor, load_long_long
from flowmq._message cimport Properties, message_header, message_names, scan_properties
from flowmq._order cimport queue_now
from flowmq._rewrite cimport (
    Field, HeaderWriter, begin_copy, begin_fields, begin_sized, end_copy, end_sized, enter_value, is_named, next_field,
    next_text, put_field, put_name, put_number, put_octets, put_text,
)

from flowmq._frame import check_contract

check_contract(FLOWMQ_CONTRACT)

cdef enum:
    # A header must fit a frame of the usual size: of a message that died in hundreds of queues the oldest deaths are
    # forgotten. The latest is always told.
    HEADER_BYTES_MAX = 122880

cdef struct Death:
    # A table of x-death, without its length.
    const uint8_t *start
    const uint8_t *end


cdef Message *after_death(Message *message, bytes queue, bytes reason, bytes names, bint keeps_selected) except NULL:
    cdef HeaderWriter *writer = begin_copy(message)
    cdef Cursor cursor
    cdef Field field
    cdef Field deaths
    cdef Field selected
    cdef Message *copy
    deaths.value = deaths.end = selected.value = selected.end = NULL
    begin_fields(message, &cursor)
    while next_field(&cursor, &field):
        if is_named(&field, b"x-death"):
            if message.died:
                deaths = field
            continue
        if is_named(&field, b"CC"):
            selected = field
            if not keeps_selected:
                continue
        elif message.blind and not keeps_selected and is_named(&field, b"BCC"):
            continue
        if not is_of_the_broker(&field, message.died):
            put_field(writer, &field)
    put_deaths(writer, message, &deaths, &selected, queue, reason)
    if not message.died:
        put_companion(writer, b"x-first-death-queue", queue)
        put_companion(writer, b"x-first-death-reason", reason)
        put_exchange(writer, b"x-first-death-exchange", message)
    put_companion(writer, b"x-last-death-queue", queue)
    put_companion(writer, b"x-last-death-reason", reason)
    put_exchange(writer, b"x-last-death-exchange", message)
    copy = end_copy(writer, message, PyBytes_AS_STRING(names), <uint32_t>PyBytes_GET_SIZE(names), False)
    copy.died = True
    copy.blind = message.blind and keeps_selected
    return copy


cdef bint is_of_the_broker(const Field *field, bint died) noexcept nogil:
    """Is that a header that is written anew? What is said of the first death is kept, once the broker has said it."""
    if field.name_bytes < 16 or field.name[0] != c"x":
        return False
    if is_named(field, b"x-delivery-count") or is_named(field, b"x-acquired-count"):
        return True
    if is_named(field, b"x-last-death-queue") or is_named(field, b"x-last-death-reason"):
        return True
    if is_named(field, b"x-last-death-exchange"):
        return True
    return not died and (
        is_named(field, b"x-first-death-queue") or is_named(field, b"x-first-death-reason")
        or is_named(field, b"x-first-death-exchange")
    )


cdef int put_companion(HeaderWriter *writer, const char *name, bytes text) except -1:
    put_name(writer, name)
    return put_text(writer, PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))


cdef int put_exchange(HeaderWriter *writer, const char *name, Message *message) except -1:
    cdef const char *names = message_names(message)
    put_name(writer, name)
    return put_text(writer, names + 1, <uint8_t>names[0])


cdef int put_deaths(HeaderWriter *writer, Message *message, const Field *earlier, const Field *selected, bytes queue,
                    bytes reason) except -1:
    cdef size_t array, table
    cdef Cursor cursor
    cdef Death death
    cdef Death again
    cdef Py_ssize_t room = HEADER_BYTES_MAX - <Py_ssize_t>message.header_bytes
    if earlier.value != NULL:
        room += earlier.end - earlier.value
    put_name(writer, b"x-death")
    array = begin_sized(writer, c"A")
    again.start = again.end = NULL
    begin_deaths(earlier, &cursor)
    while again.start == NULL and next_death(&cursor, &death):
        if is_text(&death, b"queue", queue) and is_text(&death, b"reason", reason):
            again = death
    table = begin_sized(writer, c"F")
    if again.start == NULL:
        put_first_time(writer, message, selected, queue, reason)
    else:
        put_counted_again(writer, &again)
    end_sized(writer, table)
    begin_deaths(earlier, &cursor)
    while next_death(&cursor, &death):
        room -= death.end - death.start + 5
        if death.start != again.start and room > 0:
            table = begin_sized(writer, c"F")
            put_octets(writer, death.start, <size_t>(death.end - death.start))
            end_sized(writer, table)
    end_sized(writer, array)
    return 0


cdef int put_first_time(HeaderWriter *writer, Message *message, const Field *selected, bytes queue,
                        bytes reason) except -1:
    cdef const char *payload = message_header(message)
    cdef const char *names = message_names(message)
    cdef const char *key = names + 1 + <uint8_t>names[0]
    cdef const uint8_t *text
    cdef uint32_t text_bytes
    cdef Properties properties
    cdef Cursor cursor
    cdef size_t keys
    put_name(writer, b"count")
    put_number(writer, c"l", 1)
    put_companion(writer, b"reason", reason)
    put_companion(writer, b"queue", queue)
    put_name(writer, b"time")
    put_number(writer, c"T", queue_now() // 1000)
    put_exchange(writer, b"exchange", message)
    put_name(writer, b"routing-keys")
    keys = begin_sized(writer, c"A")
    put_text(writer, key + 1, <uint8_t>key[0])
    if selected.value != NULL and enter_value(selected.value, selected.end, c"A", &cursor):
        while next_text(&cursor, &text, &text_bytes):
            put_text(writer, text, text_bytes)
    end_sized(writer, keys)
    scan_properties(<const uint8_t *>payload, message.header_bytes, &properties)
    if properties.expiration_at:
        put_name(writer, b"original-expiration")
        put_text(writer, payload + properties.expiration_at, properties.expiration_bytes)
    return 0


cdef int put_counted_again(HeaderWriter *writer, const Death *death) except -1:
    """The same table with a count one higher."""
    cdef uint64_t count = 0
    cdef Cursor cursor
    cdef Field field
    cursor.position, cursor.end = death.start, death.end
    while next_field(&cursor, &field):
        if is_named(&field, b"count") and field.value[0] == c"l":
            count = load_long_long(field.value + 1)
            break
    put_name(writer, b"count")
    put_number(writer, c"l", count + 1)
    cursor.position, cursor.end = death.start, death.end
    while next_field(&cursor, &field):
        if not is_named(&field, b"count"):
            put_field(writer, &field)
    return 0


# ----------------------------------------------------------------------------------------------- reading of deaths

cdef void begin_deaths(const Field *field, Cursor *cursor) noexcept nogil:
    """The cursor comes to stand at the first table; at an end when the field is NULL or no array."""
    cursor.position = cursor.end = NULL
    if field.value != NULL:
        enter_value(field.value, field.end, c"A", cursor)


cdef bint next_death(Cursor *cursor, Death *death) noexcept nogil:
    cdef Cursor inside
    if not enter_value(cursor.position, cursor.end, c"F", &inside):
        return False
    death.start, death.end = inside.position, inside.end
    cursor.position = inside.end
    return True


cdef bint is_text(const Death *death, const char *name, bytes text) noexcept:
    """Is the field of that name that string?"""
    cdef const uint8_t *found
    cdef uint32_t found_bytes
    cdef Cursor cursor
    cdef Cursor value
    cdef Field field
    cursor.position, cursor.end = death.start, death.end
    while next_field(&cursor, &field):
        if is_named(&field, name):
            value.position, value.end = field.value, field.end
            return (next_text(&value, &found, &found_bytes) and found_bytes == <uint32_t>PyBytes_GET_SIZE(text)
                    and memcmp(found, PyBytes_AS_STRING(text), found_bytes) == 0)
    return False


cdef bint goes_round(Message *message, bytes queue) noexcept:
    cdef Cursor cursor
    cdef Field field
    cdef Death death
    begin_fields(message, &cursor)
    while next_field(&cursor, &field):
        if is_named(&field, b"x-death"):
            begin_deaths(&field, &cursor)
            while next_death(&cursor, &death):
                if is_text(&death, b"reason", b"rejected"):
                    return False
                if is_text(&death, b"queue", queue):
                    return True
            return False
    return False


cdef list selected_keys(Message *message):
    cdef list keys = None
    cdef const char *names = message_names(message)
    cdef const char *key = names + 1 + <uint8_t>names[0]
    cdef const uint8_t *text
    cdef uint32_t text_bytes
    cdef Cursor cursor
    cdef Cursor texts
    cdef Field field
    begin_fields(message, &cursor)
    while next_field(&cursor, &field):
        if not is_named(&field, b"CC") and not is_named(&field, b"BCC"):
            continue
        if enter_value(field.value, field.end, c"A", &texts):
            while next_text(&texts, &text, &text_bytes):
                if keys is None:
                    keys = [key[1:1 + <uint8_t>key[0]]]
                keys.append((<const char *>text)[:text_bytes])
    return keys
