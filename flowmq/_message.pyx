# See _message.pxd for what this module is, and the layout of a message.

from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset

from flowmq._frame cimport (
    FLOWMQ_CONTRACT, FRAME_BODY, FRAME_END, FRAME_HEADER, Cursor, load_long, load_short, output_bytes_alive,
    put_frame_prefix, read_octet, read_short_string, skip_bytes, skip_short_string,
)

from flowmq._frame import check_contract

check_contract(FLOWMQ_CONTRACT)

cdef extern from *:
    """
    #include <stdlib.h>
    #if defined(__GLIBC__)
    #include <malloc.h>
    static void keep_freed_memory(int octets) {
        mallopt(M_MMAP_THRESHOLD, octets);
        mallopt(M_TRIM_THRESHOLD, octets);
    }
    static void give_back_freed(void) { malloc_trim(0); }
    #else
    static void keep_freed_memory(int octets) { (void)octets; }
    static void give_back_freed(void) { }
    #endif
    #if defined(__GLIBC__) && __GLIBC_PREREQ(2, 33)
    static size_t allocator_free(void) { return mallinfo2().fordblks; }
    #else
    static size_t allocator_free(void) { return 0; }
    #endif
    #if defined(__SANITIZE_ADDRESS__)
    enum { KEEPS_ALL_FREED = 1 };
    #else
    enum { KEEPS_ALL_FREED = 0 };
    #endif
    """
    void keep_freed_memory(int octets)
    void give_back_freed()
    size_t allocator_free()
    bint KEEPS_ALL_FREED

cdef enum:
    FREED_BYTES_KEPT = 16777216
    ALLOCATOR_BYTES = 16               # that malloc takes for itself with each block
    SIZE_CLASSES = 10
    HEADER_FIXED_BYTES = 14            # class, weight, body size, property flags
    FREE_BYTES_PER_CLASS_MAX = 4194304

cdef struct FreeBlock:
    FreeBlock *next

cdef uint32_t CLASS_BYTES[SIZE_CLASSES]
CLASS_BYTES[:] = [128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 4096]

cdef FreeBlock *free_blocks[SIZE_CLASSES]
cdef uint32_t free_count[SIZE_CLASSES]
memset(free_blocks, 0, sizeof(free_blocks))
memset(free_count, 0, sizeof(free_count))

# Large blocks come and go one by one. Given back to the system at once, each would be made of fresh pages again, which
# costs more than what is done with it.
keep_freed_memory(FREED_BYTES_KEPT)

cdef uint64_t alive = 0
cdef uint64_t bytes_alive = 0
cdef int64_t bytes_around = 0


def live_messages() -> int:
    """How many messages the process holds: queued, unacknowledged or being received."""
    return alive


def live_message_bytes() -> int:
    """Memory of those messages in octets, and of what keeps them in order: queues, and deliveries not settled yet."""
    return bytes_alive + <uint64_t>bytes_around


def live_output_bytes() -> int:
    """Memory of octets that wait in the connections' output buffers."""
    return output_bytes_alive()


def free_memory() -> int:
    """Octets that were freed, and are kept for what comes next."""
    cdef uint64_t found = allocator_free()
    cdef int which
    for which in range(SIZE_CLASSES):
        found += free_count[which] * CLASS_BYTES[which]
    return found


def give_back_memory():
    """What is freed goes back to the operating system, as far as that takes it; a pause."""
    cdef FreeBlock *block
    cdef int which
    for which in range(SIZE_CLASSES):
        while free_blocks[which] != NULL:
            block = free_blocks[which]
            free_blocks[which] = block.next
            free(block)
        free_count[which] = 0
    give_back_freed()


def is_freed_memory_kept() -> bool:
    """True with the address sanitizer, which never reuses it: the size of the process says nothing."""
    return KEEPS_ALL_FREED


cdef uint64_t messages_alive() noexcept nogil:
    return alive


cdef uint64_t message_bytes_alive() noexcept nogil:
    return bytes_alive + <uint64_t>(bytes_around + output_bytes_alive())


cdef void count_memory(int64_t change) noexcept nogil:
    global bytes_around
    bytes_around += change


# ------------------------------------------------------------------------------------------------- properties

cdef bint scan_properties(const uint8_t *payload, uint32_t payload_bytes, Properties *properties) noexcept nogil:
    cdef Cursor cursor
    cdef uint16_t flags
    memset(properties, 0, sizeof(Properties))
    if payload_bytes < HEADER_FIXED_BYTES:
        return False
    flags = load_short(payload + 12)
    cursor.position = payload + HEADER_FIXED_BYTES
    cursor.end = payload + payload_bytes
    if flags & 0x8000 and not skip_short_string(&cursor):  # content-type
        return False
    if flags & 0x4000 and not skip_short_string(&cursor):  # content-encoding
        return False
    if flags & 0x2000 and not scan_headers(payload, &cursor, properties):
        return False
    if flags & 0x1000 and not read_octet(&cursor, &properties.delivery_mode):
        return False
    if flags & 0x0800 and not read_octet(&cursor, &properties.priority):
        return False
    if flags & 0x0400 and not skip_short_string(&cursor):  # correlation-id
        return False
    if flags & 0x0200 and not scan_text(payload, &cursor, &properties.reply_to_at, &properties.reply_to_bytes):
        return False
    if flags & 0x0100 and not scan_text(payload, &cursor, &properties.expiration_at, &properties.expiration_bytes):
        return False
    if flags & 0x0080 and not skip_short_string(&cursor):  # message-id
        return False
    if flags & 0x0040 and not skip_bytes(&cursor, 8):      # timestamp
        return False
    if flags & 0x0020 and not skip_short_string(&cursor):  # type
        return False
    if flags & 0x0010 and not scan_text(payload, &cursor, &properties.user_id_at, &properties.user_id_bytes):
        return False
    if flags & 0x0008 and not skip_short_string(&cursor):  # app-id
        return False
    if flags & 0x0004 and not skip_short_string(&cursor):  # cluster-id
        return False
    return cursor.position == cursor.end


cdef bint scan_text(const uint8_t *payload, Cursor *cursor, uint32_t *at, uint8_t *text_bytes) noexcept nogil:
    cdef const uint8_t *text
    if not read_short_string(cursor, &text, text_bytes):
        return False
    at[0] = <uint32_t>(text - payload)
    return True


cdef bint scan_headers(const uint8_t *payload, Cursor *cursor, Properties *properties) noexcept nogil:
    cdef uint32_t table_bytes
    if cursor.end - cursor.position < 4:
        return False
    table_bytes = load_long(cursor.position)
    cursor.position += 4
    properties.headers_at = <uint32_t>(cursor.position - payload)
    properties.headers_bytes = table_bytes
    return skip_bytes(cursor, table_bytes)


cdef enum:
    FLAGS_AT = 12               # in a content header payload
    CONTENT_TYPE = 0x8000       # the first property, with the highest flag
    HEADERS = 0x2000
    DELIVERY_MODE = 0x1000
    PRIORITY = 0x0800
    TIMESTAMP = 0x0040


cdef bint find_property(Message *message, uint16_t wanted, const uint8_t **octets, uint8_t *count) noexcept nogil:
    # The properties were checked when they came.
    cdef const uint8_t *payload = <const uint8_t *>message_header(message)
    cdef uint16_t flags = load_short(payload + FLAGS_AT)
    cdef uint16_t flag = CONTENT_TYPE
    cdef Cursor cursor
    if not flags & wanted:
        return False
    cursor.position = payload + HEADER_FIXED_BYTES
    cursor.end = payload + message.header_bytes
    while flag != wanted:
        if flags & flag and not skip_property(&cursor, flag):
            return False
        flag >>= 1
    if wanted != TIMESTAMP:
        return read_short_string(&cursor, octets, count)
    octets[0] = cursor.position
    count[0] = 8
    return skip_bytes(&cursor, 8)


cdef bint skip_property(Cursor *cursor, uint16_t flag) noexcept nogil:
    if flag == HEADERS:
        return cursor.end - cursor.position >= 4 and skip_bytes(cursor, 4 + <size_t>load_long(cursor.position))
    if flag == DELIVERY_MODE or flag == PRIORITY:
        return skip_bytes(cursor, 1)
    return skip_short_string(cursor)


cdef bint has_sender_selected_keys(const uint8_t *table, uint32_t table_bytes) noexcept nogil:
    cdef Cursor cursor
    cdef const uint8_t *name
    cdef uint8_t name_bytes
    cursor.position = table
    cursor.end = table + table_bytes
    while cursor.position < cursor.end:
        if not read_short_string(&cursor, &name, &name_bytes):
            return False
        if name_bytes == 2 and memcmp(name, b"CC", 2) == 0:
            return True
        if name_bytes == 3 and memcmp(name, b"BCC", 3) == 0:
            return True
        if not skip_field_value(&cursor):
            return False
    return False


cdef bint skip_field_value(Cursor *cursor) noexcept nogil:
    cdef uint8_t kind
    if not read_octet(cursor, &kind):
        return False
    if kind == c't' or kind == c'b' or kind == c'B':
        return skip_bytes(cursor, 1)
    if kind == c's' or kind == c'u':
        return skip_bytes(cursor, 2)
    if kind == c'I' or kind == c'i' or kind == c'f':
        return skip_bytes(cursor, 4)
    if kind == c'D':
        return skip_bytes(cursor, 5)
    if kind == c'l' or kind == c'd' or kind == c'T':
        return skip_bytes(cursor, 8)
    if kind == c'V':
        return True
    if kind == c'S' or kind == c'x' or kind == c'A' or kind == c'F':
        if cursor.end - cursor.position < 4:
            return False
        return skip_bytes(cursor, <size_t>load_long(cursor.position) + 4)
    return False


cdef bytes with_short_string(const uint8_t *payload, uint32_t payload_bytes, uint32_t at, uint8_t old_bytes, bytes new):
    cdef bytes old = (<const char *>payload)[:payload_bytes]
    return old[:at - 1] + bytes((len(new),)) + new + old[at + old_bytes:]


# ------------------------------------------------------------------------------------------------------ blocks

cdef void *allocate(uint64_t size, uint16_t *size_class, uint64_t *capacity) noexcept nogil:
    cdef uint16_t which = 0
    cdef FreeBlock *block
    while which < SIZE_CLASSES and CLASS_BYTES[which] < size:
        which += 1
    size_class[0] = which
    if which == SIZE_CLASSES:
        capacity[0] = size
        return malloc(size)
    capacity[0] = CLASS_BYTES[which]
    block = free_blocks[which]
    if block == NULL:
        return malloc(CLASS_BYTES[which])
    free_blocks[which] = block.next
    free_count[which] -= 1
    return block


cdef void message_free(Message *message) noexcept nogil:
    global alive, bytes_alive
    cdef uint16_t which = message.size_class
    cdef FreeBlock *block = <FreeBlock *>message
    alive -= 1
    bytes_alive -= message.capacity_bytes + ALLOCATOR_BYTES
    if which == SIZE_CLASSES or free_count[which] * CLASS_BYTES[which] >= FREE_BYTES_PER_CLASS_MAX:
        free(message)
        return
    block.next = free_blocks[which]
    free_blocks[which] = block
    free_count[which] += 1


cdef Message *message_new(const char *names, uint32_t names_bytes, const uint8_t *header, uint32_t header_bytes,
                          uint64_t body_bytes, const Properties *properties) noexcept nogil:
    global alive, bytes_alive
    cdef uint64_t fixed = sizeof(Message) + names_bytes + 1 + header_bytes + FRAME_OVERHEAD_BYTES
    cdef uint64_t body_room = 0
    cdef uint16_t size_class
    cdef uint64_t capacity
    cdef Message *message
    cdef char *at
    if body_bytes:
        body_room = min(body_bytes, <uint64_t>BODY_RESERVED_BYTES_MAX) + FRAME_OVERHEAD_BYTES
    message = <Message *>allocate(fixed + body_room, &size_class, &capacity)
    if message == NULL:
        return NULL
    alive += 1
    bytes_alive += capacity + ALLOCATOR_BYTES
    message.references = 1
    message.size_class = size_class
    message.capacity_bytes = capacity
    message.delivery_mode = properties.delivery_mode
    message.priority = properties.priority
    message.names_bytes = names_bytes
    message.header_bytes = header_bytes
    message.headers_at = properties.headers_at
    message.headers_bytes = properties.headers_bytes
    message.body_bytes = body_bytes
    message.journal_batch = 0
    message.died = message.blind = False
    at = message_names(message)
    memcpy(at, names, names_bytes)
    at[names_bytes] = <char>FRAME_END
    at = put_frame_prefix(at + names_bytes + 1, FRAME_HEADER, 0, header_bytes)
    memcpy(at, header, header_bytes)
    at[header_bytes] = <char>FRAME_END
    if body_bytes:
        # The size field only means something where the body fits one frame; a larger body is cut when it is sent.
        put_frame_prefix(at + header_bytes + 1, FRAME_BODY, 0, <uint32_t>body_bytes)
        if body_bytes <= BODY_RESERVED_BYTES_MAX:
            message_body(message)[body_bytes] = <char>FRAME_END
    return message


cdef Message *message_make_room(Message *message, uint64_t body_bytes) noexcept nogil:
    global bytes_alive
    cdef uint64_t before_body = <uint64_t>(message_body(message) - <char *>message)
    cdef uint64_t need = before_body + body_bytes + 1
    cdef uint64_t whole = before_body + message.body_bytes + 1
    cdef uint64_t capacity
    cdef Message *moved
    if need <= message.capacity_bytes:
        return message
    # Doubling follows what has really been received, so that a large declared size costs nothing by itself. Only
    # bodies beyond BODY_RESERVED_BYTES_MAX come here, hence never a block of a free list.
    capacity = min(max(need, message.capacity_bytes * 2), whole)
    moved = <Message *>realloc(message, capacity)
    if moved == NULL:
        return NULL
    bytes_alive += capacity - moved.capacity_bytes
    moved.capacity_bytes = capacity
    if capacity == whole:
        message_body(moved)[moved.body_bytes] = <char>FRAME_END
    return moved


# ------------------------------------------------------------------------------------------------------- sizes

cdef enum:
    SIZES = 9

cdef uint64_t[SIZES] SIZE_LIMITS = [100, 1000, 10000, 100000, 1000000, 10000000, 50000000, 100000000, 2 ** 63]
cdef uint64_t[SIZES] size_counts
memset(size_counts, 0, sizeof(size_counts))


cdef void count_size(uint64_t body_bytes) noexcept nogil:
    cdef int at = 0
    while body_bytes > SIZE_LIMITS[at]:
        at += 1
    size_counts[at] += 1


def message_sizes() -> list:
    """How many messages were published in this process, by the octets of their bodies: (at most so many, how many)."""
    return [(SIZE_LIMITS[at], size_counts[at]) for at in range(SIZES)]
