# The sockets of plain AMQP connections: when there is something to read, and what could not be written yet. Those that
# listen are looked at with them (_listening.pxd).
#
# The event loop knows one descriptor for all of them, an epoll of their own. A round asks it which are readable, reads
# each of them once, and ends with the writes that came of it: one turn for all, and two system calls for a message
# that comes alone. While things come in quick succession a round follows a round without the event loop in between.
#
# Who publishes message by message and waits for nothing is read so soon by a broker that does not sleep that each
# message is a read, and a write to its consumer: as much work for either end as ten messages. Then a round rests for
# some microseconds before it looks. As soon as anybody else sends something, or a rest gathers little, it does not.
#
# What lies above a plain socket (TLS, WebSocket) stays with the event loop's transports. Frames are the connection's.

from libc.stdint cimport uint32_t, uint64_t

from flowmq._frame cimport OutputBuffer
from flowmq._peer cimport Peer

cdef extern from "<sys/epoll.h>" nogil:
    ctypedef union epoll_data_t:
        void *ptr
    cdef struct epoll_event:
        uint32_t events
        epoll_data_t data

cdef extern from "<sys/socket.h>" nogil:
    struct iovec:
        void *iov_base
        size_t iov_len

cdef enum:
    EVENTS_PER_ROUND = 256

cdef class Sockets

cdef class Watched:
    # What the epoll can have, with its owner to keep it alive: a round may hold its address until the round ends.
    cdef Sockets sockets
    cdef object socket
    cdef int descriptor
    cdef uint32_t watched           # the events that the epoll looks for; 0: it does not know the socket

    cdef int happened(self, uint32_t events) except -1
    # The number of the error, or 0.
    cdef int watch_for(self, uint32_t wanted) noexcept
    # It is left alone from now on.
    cdef int end(self, error) except -1

cdef class SocketTransport(Watched):
    # One client's socket, with as much of asyncio.Transport as sessions use.
    cdef Peer peer
    cdef tuple names                # of both ends: peername, sockname
    cdef bint reading               # does the connection want to be read?
    cdef bint closing               # nothing more is read, and once all is written it ends
    cdef bint ended                 # nothing more is written either
    cdef bint full                  # more waits than the upper limit, and the connection was told so
    cdef object broken              # the error of a write; what was received before it is still read
    cdef object pending             # a deque of what waits to be written: bytes and memoryviews; None: nothing
    cdef Py_ssize_t head_sent       # octets of the first of them that are written
    cdef Py_ssize_t pending_bytes
    cdef Py_ssize_t high_bytes
    cdef Py_ssize_t low_bytes
    cdef uint32_t unanswered_reads  # since something was written last

    # Both take what they are given: at once as far as the socket does, later the rest.
    cdef int write_output(self, OutputBuffer *output) except -1
    cdef int write_parts(self, list parts) except -1

    cdef int receive(self) except -1
    cdef int keep(self, part) except -1
    cdef int send_pending(self) except -1
    cdef Py_ssize_t lay_out(self, iovec *parts, size_t *parts_count) except -1
    cdef int forget_sent(self, Py_ssize_t count) except -1
    cdef int note_pending(self) except -1
    cdef int watch(self) except -1
    cdef int write_failed(self, int error) except -1

cdef class Sockets:
    cdef object loop
    cdef int epoll
    cdef set transports
    cdef Py_ssize_t unflushed_bytes     # read in this round and not followed by the writes yet
    cdef Py_ssize_t round_bytes         # read in this round, or the last one
    cdef bint round_streams             # all of it came from clients that send on and on and are answered nothing
    cdef int streaming_rounds           # in a row; below 0: after a rest that did not help
    cdef Py_ssize_t usual_bytes         # of a round without a rest before it
    cdef int events_asked               # how many sockets the next round is for at most
    cdef readonly bint resting          # before a round, so that there is more to read
    cdef epoll_event events[EVENTS_PER_ROUND]

    cdef bint disk_is_awaited(self)
    cdef int wait(self) noexcept nogil
    cdef void adapt_round(self) noexcept
    cdef void note_round(self) noexcept
    cdef int deal_with(self, int count) except -1
    cdef int failed(self, Watched watched, error) except -1

cdef object os_error(int error)
