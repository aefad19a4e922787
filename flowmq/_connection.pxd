# A client's connection: octets from the transport in, frames to channels. What goes out, and when it is read at all, is
# _flow's affair.
#
# The methods that come per message (publish, ack, nack, reject) and content frames are dispatched here; everything else
# goes to the session, a Python object that knows the protocol's life cycle. Errors raised by either end in one call,
# session.failed(). Framing is all this module knows of AMQP: no queues, no permissions, no timeouts.
#
# A body frame is taken in as it arrives; of any other frame the octets before it is whole are kept aside.

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from flowmq._channel cimport Channel
from flowmq._frame cimport ReadBuffer
from flowmq._flow cimport FlowingPeer
from flowmq._unfinished cimport Unfinished

cdef enum Stage:
    PROTOCOL_HEADER = 0
    HANDSHAKE = 1               # methods go to the session; content is an error
    RUNNING = 2
    DEAF = 3                    # framing is lost: only the close-ok that ends it is looked for

cdef class Connection(FlowingPeer):
    cdef readonly object session
    cdef ReadBuffer buffer
    cdef readonly dict channels     # number -> Channel
    cdef Channel last_channel       # the one the last frame was for
    cdef int last_number            # its number; -1 when none
    cdef Stage stage
    cdef uint32_t frame_payload_max
    cdef uint64_t unauthenticated_bytes_max     # received before it runs

    cdef const uint8_t *position    # next octet to look at, during a read
    cdef uint16_t number            # channel number of the frame being dispatched, and its class and method: for errors
    cdef uint32_t method

    cdef Unfinished unfinished
    cdef Py_ssize_t needed_bytes    # what makes it whole, as far as known

    cdef bint in_body               # between the prefix and the end octet of a body frame
    cdef uint64_t body_left
    cdef Channel body_channel       # None: its octets are thrown away

    cdef int cold_methods           # dealt with in this turn
    cdef bint publishing            # content arrived in this turn
    cdef readonly uint64_t received_bytes
    cdef readonly uint64_t reads

    cdef int read(self, const uint8_t *start, const uint8_t *end) except -1
    cdef int keep_unfinished(self, const uint8_t *end) except -1
    cdef bint publish_whole(self, const uint8_t *at, const uint8_t *end) except -1
    cdef object frame_end_error(self, const uint8_t *frame, uint32_t payload_bytes)
    cdef object frame_error(self, const uint8_t *frame, bytes payload, str reason)
    cdef object unknown_frame(self, const uint8_t *payload, uint32_t payload_bytes)
    cdef int consume(self, const uint8_t *end) except -1
    cdef int other_frame(self, uint8_t kind, uint16_t number, const uint8_t *payload, uint32_t payload_bytes) except -1
    cdef int method_frame(self, uint16_t number, const uint8_t *payload, uint32_t payload_bytes) except -1
    cdef int cold_method(self, uint16_t number, const uint8_t *payload, uint32_t payload_bytes) except -1
    cdef int begin_body(self, uint16_t number, uint32_t payload_bytes) except -1
    cdef bint continue_body(self, const uint8_t *end) except -1
    cdef int listen_for_close_ok(self, const uint8_t *start, const uint8_t *end) except -1
    cdef Channel find_channel(self, uint16_t number)
