# The receiving half of a channel: basic.publish, its content header, its body, put together to one message.
#
# Checks what a publish may ask for, in the order clients know: size, permission, exchange, internal, topic, reply-to,
# expiration, CC and BCC, user-id. Permissions are asked for when exchange or key are not those of the publish before.
# Where the message goes is the other half's business: finish_publish() is called with everything in place.

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from flowmq._message cimport Message, Properties
from flowmq._peer cimport Peer
from flowmq._queue cimport Consumer, Outlet
from flowmq._router cimport Exchange, RouteSet

cdef enum Expecting:
    METHOD_FRAME = 0
    HEADER_FRAME = 1
    BODY_FRAME = 2

cdef struct WholePublish:
    # Where the parts of a basic.publish lie that has come as a whole, its body in one frame.
    uint16_t number                 # of the channel, the same in all its frames
    const uint8_t *arguments        # of the method
    const uint8_t *method_end       # behind its frame
    const uint8_t *header           # payload
    const uint8_t *header_end
    const uint8_t *body
    const uint8_t *end
    uint32_t header_bytes
    uint32_t body_bytes
    uint32_t largest_bytes          # payload of the largest of its frames

cdef enum:
    PUBLISH_BYTES_MIN = 32          # a whole one has more

# `at` is the frame of a basic.publish, and PUBLISH_BYTES_MIN octets are there. Looks at frames alone, and not at what
# is in them, but for the size of the body. False when anything is not as usual.
cdef bint find_whole_publish(const uint8_t *at, const uint8_t *end, WholePublish *publish) noexcept nogil

cdef class ContentReceiver(Outlet):
    cdef readonly Peer peer
    cdef readonly uint16_t number
    cdef readonly object vhost
    cdef readonly Consumer reply_consumer   # of amq.rabbitmq.reply-to
    cdef readonly bytes reply_key

    # the publish being received
    cdef Expecting expecting
    cdef char names[512]            # exchange and routing key, as received
    cdef uint32_t names_bytes
    cdef bint mandatory
    cdef bint memo_holds            # `memo_names` is what is being published to
    cdef Message *message
    cdef uint64_t received_bytes
    cdef uint64_t expires_at_ms
    cdef list selected_keys         # routing key, CC and BCC when the publisher named more than one

    # the last place published to, and where that leads
    cdef char memo_names[512]
    cdef uint32_t memo_names_bytes
    cdef uint32_t memo_valid_bytes  # the same, or 0: to be looked up and allowed again before the next publish
    cdef Exchange exchange
    cdef RouteSet memo_routes
    cdef uint64_t memo_generation

    # `arguments` is a method frame's payload behind class and method. All raise AMQPError.
    cdef int basic_publish(self, const uint8_t *arguments, const uint8_t *end) except -1
    cdef int content_header(self, const uint8_t *payload, uint32_t payload_bytes) except -1
    # A body frame: its size, its octets in any number of pieces, and its end octet, which alone makes it count.
    cdef int begin_body(self, uint64_t count) except -1
    cdef int content_body(self, const uint8_t *octets, uint64_t count) except -1
    cdef int end_body(self) except -1
    # All of it at once, of a content that has one.
    cdef int whole_body(self, const uint8_t *octets) except -1
    # Forgets a publish that has begun.
    cdef int abandon_publish(self) except -1
    # Abstract: `message` is complete; it belongs to whoever implements this.
    cdef int finish_publish(self) except -1

    cdef int find_exchange(self) except -1
    cdef int remember_names(self, Exchange exchange) except -1
    cdef int check_write(self, bytes name) except -1
    cdef int check_topics(self, Exchange exchange, list keys) except -1
    # What this user may do has changed. What is being received was allowed when it began.
    cdef int forget_permissions(self) except -1
    cdef int check_user(self, const uint8_t *payload, Properties *properties) except -1
    cdef int read_expiration(self, const uint8_t *payload, Properties *properties) except -1
    cdef bytes rewrite_header(self, const uint8_t *payload, uint32_t payload_bytes, Properties *properties)
