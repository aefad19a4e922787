# A client's connection: octets from the transport in, frames to channels, one write per turn out.
#
# The methods that come per message (publish, ack, nack, reject) and content frames are dispatched here; everything else
# goes to the session, a Python object that knows the protocol's life cycle. Errors raised by either end in one call,
# session.failed(). Framing is all this module knows of AMQP: no queues, no permissions, no timeouts.
#
# A body frame is taken in as it arrives; of any other frame the octets before it is whole are kept aside.

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from flowmq._channel cimport Channel
from flowmq._frame cimport ReadBuffer
from flowmq._peer cimport Peer
from flowmq._sockets cimport SocketTransport
from flowmq._unfinished cimport Unfinished

cdef enum Stage:
    PROTOCOL_HEADER = 0
    HANDSHAKE = 1               # methods go to the session; content is an error
    RUNNING = 2
    DEAF = 3                    # framing is lost: only the close-ok that ends it is looked for

cdef class Connection(Peer):
    cdef readonly object session
    cdef readonly object transport
    cdef SocketTransport socket     # the same, when that is what it is
    cdef object loop
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

    cdef Py_ssize_t read_bytes      # at most so many are read per turn
    cdef bint between_turns
    cdef bint disk_is_behind
    cdef readonly bint held         # frames wait until an answer that waits for the disk is given
    cdef bint owing_answers         # answers wait for the disk; until they are given only what declares is dealt with
    cdef readonly bint held_for_room        # frames wait until what they ask for can be written, or for another turn
    cdef int cold_methods           # dealt with in this turn
    cdef bint publishing            # content arrived in this turn
    cdef bint refill_scheduled
    cdef readonly bint owing_too_much       # not read until the client takes what it is owed
    cdef readonly bint is_reading
    cdef readonly bint told_to_stop         # not read until the session says so
    cdef readonly uint64_t received_bytes
    cdef readonly uint64_t sent_bytes
    cdef readonly uint64_t reads
    cdef readonly uint64_t writes

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
    cdef int wake_consumers(self) except -1
    cdef int write_objects(self) except -1
    cdef int hold_back(self) except -1
    cdef int soon(self, callback) except -1
    cdef int hold_for_room(self) except -1
    cdef int go_on(self) except -1
    cdef int adapt_read_bytes(self) except -1
    cdef int end_turn(self) except -1
    cdef int apply_reading(self) except -1
