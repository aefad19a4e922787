# The output side of a client's connection, as channels see it: a buffer, whether there is room in it, and who has
# dirtied it.
#
# Nothing is written while a message is on its way: touched peers are marked dirty, and whoever called in writes them
# out once, at the end. What a transport is belongs to the connection.
#
# Deliveries to many connections at once are gathered over some turns, as long as turn follows turn: a write costs as
# much as ten messages, so that many small ones would be all that a busy broker does. Once nothing more is to be read,
# or after a millisecond, all are written.

from libc.stdint cimport uint16_t, uint32_t, uint64_t

from flowmq._frame cimport FRAME_OVERHEAD_BYTES, OutputBuffer, ReadBuffer
from flowmq._journal cimport Journal
from flowmq._message cimport Message, message_image_bytes
from flowmq._queue cimport Outlet
from flowmq._router cimport Exchange, RouteSet

cdef enum Dirty:
    CLEAN = 0
    GATHERING = 1               # deliveries, which may wait for more
    DIRTY = 2                   # to be written at the end of this turn

cdef enum:
    WRITE_BYTES_ENOUGH = 16384  # more would not make a write cheaper
    BODY_SHARED_BYTES_MIN = 32768

cdef class SharedBody:
    # A part of a message's body, sent from where it lies; holds a reference to the message.
    cdef Message *message
    cdef uint64_t start
    cdef uint64_t count

cdef class Peer:
    # The output side of a client's connection.
    cdef OutputBuffer output
    cdef list parts                 # what goes out before it: octets, and bodies from where they lie; None: nothing
    cdef Py_ssize_t parts_bytes
    cdef readonly uint32_t body_frame_bytes     # largest body frame payload the client takes
    cdef readonly uint64_t message_bytes_max    # largest body it may publish
    cdef readonly uint32_t header_bytes_max     # largest content header payload: properties, headers and 14 octets
    cdef public Py_ssize_t outgoing_bytes_max   # deliveries stop while more than this waits in `output`
    cdef readonly bytes user
    cdef readonly object access     # what that user may do (broker.permissions.Access); None: everything
    cdef set writable               # names of exchanges that it has allowed publishing to
    cdef bint topics_restricted     # it must be asked about routing keys too
    cdef readonly bint paused       # the transport's own buffer is full
    cdef readonly bint closing      # connection.close sent or received: no more deliveries
    cdef public bint starved        # a delivery was refused since there was room last: consumers need waking
    cdef Py_ssize_t left_bytes      # what the transport had not got rid of when it said that it was full
    cdef bint shares_bodies         # some of that may be bodies, which are counted where they lie
    cdef Dirty dirty
    cdef uint64_t backing_up        # publishes that queues with consumers could not hand on at once
    cdef list owing                 # channels that owe confirms, told before the next write
    cdef public bint holding        # an alarm is in force: what is published waits outside of the queues
    cdef readonly bint holds_too_much       # and there is more of it than may be
    cdef readonly uint64_t held_bytes
    cdef public bint sparing        # whoever holds much unacknowledged gets nothing more before it settles some of it

    cdef int mark_dirty(self) except -1
    cdef int mark_gathering(self) except -1
    # Writes everything gathered to the transport.
    cdef int flush(self) except -1
    # What a socket's transport calls, within a turn: where the next octets go, and how many have come there.
    cdef ReadBuffer window(self)
    cdef int received(self, Py_ssize_t count) except -1
    # While `holding`: a publish of a channel of this connection. Takes over the reference to the message.
    cdef int hold_publish(self, Outlet channel, Message *message, Exchange exchange, RouteSet routes,
                          uint64_t expires_at_ms, bint mandatory, uint64_t sequence) except -1

    cdef inline Py_ssize_t waiting_bytes(self) noexcept:
        return self.output.used + self.parts_bytes

    cdef inline bint has_room(self) noexcept:
        if not self.paused and not self.closing and self.waiting_bytes() < self.outgoing_bytes_max:
            return True
        self.starved = True
        return False

    cdef inline int delivered(self) except -1:
        # A delivery was added.
        if self.dirty == CLEAN:
            return self.mark_gathering()
        if self.dirty == GATHERING and self.waiting_bytes() >= WRITE_BYTES_ENOUGH:
            return self.mark_dirty()
        return 0

    cdef inline bint shares_body(self, Message *message) noexcept:
        # Is it sent from where it lies? Not in small frames: those are more to keep in mind than to copy.
        return message.body_bytes >= BODY_SHARED_BYTES_MIN and self.body_frame_bytes >= BODY_SHARED_BYTES_MIN // 2

    cdef inline Py_ssize_t content_room(self, Message *message) noexcept:
        # Octets that put_content() may write to the buffer.
        cdef Py_ssize_t room = <Py_ssize_t>message_image_bytes(message)
        if self.shares_body(message):
            room -= <Py_ssize_t>message.body_bytes
        elif message.body_bytes > self.body_frame_bytes:
            room += <Py_ssize_t>(message.body_bytes // self.body_frame_bytes) * FRAME_OVERHEAD_BYTES
        return room

    # Lays down names, header and body of a content behind the method frame that was begun for it; room is reserved.
    cdef int put_content(self, Message *message, char *at, uint16_t channel) except -1
    # The same without the names.
    cdef int put_frames(self, Message *message, char *at, uint16_t channel) except -1
    cdef int put_shown(self, Message *message, char *at, uint16_t channel, bint with_names) except -1
    cdef int forget_output(self) except -1
    cdef void count_left(self, Py_ssize_t left_bytes) noexcept
    cdef int share_body(self, Message *message, uint16_t channel) except -1

# Until the next flush_dirty() whoever calls this answers for writing out what gets dirty.
cdef void begin_turn() noexcept
# Writes out every peer that was marked dirty, or leaves those that gather to a later turn.
cdef int flush_dirty() except -1
# How many messages a consumer, or a channel by basic.get, may hold unacknowledged while memory is as short as it is.
cdef uint64_t unacked_allowed() noexcept nogil
# The journal of this process; None when nothing is durable.
cdef Journal current_journal()
