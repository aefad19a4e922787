# Message: one published content, held once however many queues it reaches.
#
# A message is a reference-counted C block. Behind the fields lie its octets exactly as they will be sent again, so that
# a delivery is one copy and two patched channel numbers:
#
#   exchange (short string)  routing key (short string)  0xCE      the tail of basic.deliver / basic.return
#   content header frame     7 + header_bytes + 1
#   content body frame       7 + body_bytes + 1                    absent when the body is empty
#
# A body larger than the receiver's frame is cut again when it is sent. Properties are never decoded here beyond the few
# facts the broker acts on. Blocks of common sizes are kept for reuse in bounded free lists.

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from flowmq._frame cimport FRAME_OVERHEAD_BYTES, FRAME_PREFIX_BYTES, Cursor

cdef enum:
    BODY_RESERVED_BYTES_MAX = 1048576   # of a new message, however much is declared

cdef struct Message:
    uint32_t references
    uint16_t size_class         # which free list the block returns to; SIZE_CLASSES means none
    uint8_t delivery_mode       # 2 is persistent
    uint8_t priority
    uint32_t names_bytes        # exchange and routing key with their length octets, without the 0xCE
    uint32_t header_bytes       # payload of the content header frame
    uint32_t headers_at         # field table (without its length) of the headers property in the payload; 0: none
    uint32_t headers_bytes
    uint64_t body_bytes         # declared by the publisher
    uint64_t capacity_bytes     # of the whole block
    uint64_t journal_batch      # where the journal wrote it last; 0 is nowhere
    uint32_t journal_offset     # and where in that batch's segment
    uint8_t died                # it was dead-lettered: what its headers say of deaths is the broker's own
    uint8_t blind               # its headers have routing keys that whoever receives it must not see: BCC

cdef struct Properties:
    # Where the properties that the broker acts on lie in a content header payload; a position of 0 means absent.
    uint32_t headers_at
    uint32_t headers_bytes
    uint32_t reply_to_at
    uint32_t expiration_at
    uint32_t user_id_at
    uint8_t reply_to_bytes
    uint8_t expiration_bytes
    uint8_t user_id_bytes
    uint8_t delivery_mode
    uint8_t priority

# Reads a content header payload (class, weight, body size, flags, properties). False when it is malformed.
cdef bint scan_properties(const uint8_t *payload, uint32_t payload_bytes, Properties *properties) noexcept nogil

# The octets of one property of a published message, by its flag: a short string's, or the eight of a timestamp. False
# when the message does not have it. Not for headers, delivery mode and priority, which the message's fields tell.
cdef bint find_property(Message *message, uint16_t wanted, const uint8_t **octets, uint8_t *count) noexcept nogil

# True when the field table of the headers property has a field of that name. Malformed tables have no fields.
cdef bint has_sender_selected_keys(const uint8_t *table, uint32_t table_bytes) noexcept nogil

# Moves the cursor over the type and the value of a field. False when that is malformed.
cdef bint skip_field_value(Cursor *cursor) noexcept nogil

# The same content header payload with another short string at `at`.
cdef bytes with_short_string(const uint8_t *payload, uint32_t payload_bytes, uint32_t at, uint8_t old_bytes, bytes new)

# A message with one reference and its body still to be filled. NULL when memory is out.
cdef Message *message_new(const char *names, uint32_t names_bytes, const uint8_t *header, uint32_t header_bytes,
                          uint64_t body_bytes, const Properties *properties) noexcept nogil
# Makes room for `body_bytes` received octets; may move the block (only its publisher holds it yet). NULL when memory is
# out.
cdef Message *message_make_room(Message *message, uint64_t body_bytes) noexcept nogil
cdef void message_free(Message *message) noexcept nogil

# One more message was published whose body is so large.
cdef void count_size(uint64_t body_bytes) noexcept nogil

# Memory that is needed to keep messages in order: whoever allocates a block of it tells how much came, or went (< 0).
cdef void count_memory(int64_t change) noexcept nogil

cdef uint64_t messages_alive() noexcept nogil
# Memory of messages, with that of count_memory() and of output buffers.
cdef uint64_t message_bytes_alive() noexcept nogil

cdef inline char *message_names(Message *message) noexcept nogil:
    return <char *>message + sizeof(Message)

cdef inline char *message_header(Message *message) noexcept nogil:
    # Payload of the content header frame.
    return message_names(message) + message.names_bytes + 1 + FRAME_PREFIX_BYTES

cdef inline char *message_body(Message *message) noexcept nogil:
    return message_header(message) + message.header_bytes + 1 + FRAME_PREFIX_BYTES

cdef inline uint64_t message_image_bytes(Message *message) noexcept nogil:
    # From the names to the end octet of the last frame.
    cdef uint64_t image = message.names_bytes + 1 + message.header_bytes + FRAME_OVERHEAD_BYTES
    if message.body_bytes:
        image += message.body_bytes + FRAME_OVERHEAD_BYTES
    return image

cdef inline void message_retain(Message *message) noexcept nogil:
    message.references += 1

cdef inline void message_release(Message *message) noexcept nogil:
    message.references -= 1
    if message.references == 0:
        message_free(message)
