# See _sockets.pxd for what this module is and is not.

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.errno cimport EAGAIN, EINTR, errno
from libc.string cimport memset
from posix.time cimport nanosleep, timespec

from flowmq._busy_poll cimport (
    is_looking, is_loop_wanted, note_arrival, note_dealt_with, now_ns, want_loop, want_no_loop,
)
from flowmq._clock cimport tell_time
from flowmq._frame cimport FLOWMQ_CONTRACT, ReadBuffer, output_clear, output_sent, output_take
from flowmq._journal cimport Journal
from flowmq._peer cimport begin_turn, current_journal, flush_dirty

import os
import socket
from collections import deque

from flowmq._frame import check_contract

check_contract(FLOWMQ_CONTRACT)

cdef extern from "<sys/epoll.h>" nogil:
    int EPOLLIN
    int EPOLLOUT
    int EPOLLERR
    int EPOLLHUP
    int EPOLL_CTL_ADD
    int EPOLL_CTL_DEL
    int EPOLL_CTL_MOD
    int EPOLL_CLOEXEC
    int epoll_create1(int flags)
    int epoll_ctl(int epoll, int operation, int descriptor, epoll_event *event)
    int epoll_wait(int epoll, epoll_event *events, int events_max, int milliseconds)

cdef extern from "<sys/socket.h>" nogil:
    int MSG_DONTWAIT
    int MSG_NOSIGNAL
    struct msghdr:
        iovec *msg_iov
        size_t msg_iovlen
    Py_ssize_t recv(int descriptor, void *data, size_t count, int flags)
    Py_ssize_t send(int descriptor, const void *data, size_t count, int flags)
    Py_ssize_t sendmsg(int descriptor, const msghdr *message, int flags)

cdef extern from "<sys/prctl.h>" nogil:
    int PR_SET_TIMERSLACK
    int prctl(int option, unsigned long value)

cdef extern from "<unistd.h>" nogil:
    int close_descriptor "close"(int descriptor)

cdef extern from "Python.h":
    Py_buffer *PyMemoryView_GET_BUFFER(object view)

cdef enum:
    PARTS_PER_WRITE = 64
    # Read by so many octets, a round writes before it goes on: answers are not to wait for all that many clients send.
    UNFLUSHED_BYTES_MAX = 131072
    EVENTS_ASKED_MIN = 16
    ROUND_BYTES_MAX = 1048576       # a round that reads so much takes milliseconds: the next one is for fewer sockets
    SILENT_SPIN_NS = 20000      # without anything to read; then the event loop gets its turn
    REST_NS = 50000
    STREAMING_READS = 16        # of a client, with nothing written to it in between
    STREAMING_ROUNDS = 8        # before the first rest
    REST_BYTES_MAX = 2048       # a round that reads more has enough to do
    REST_FACTOR_MIN = 4         # so much more must be there after a rest, or it does not help
    RESTLESS_ROUNDS = 1000      # after that


cdef class Watched:
    """Abstract: a socket that a round of `sockets` looks at."""

    cdef int happened(self, uint32_t events) except -1:
        raise NotImplementedError("Watched.happened")

    cdef int end(self, error) except -1:
        raise NotImplementedError("Watched.end")

    cdef int watch_for(self, uint32_t wanted) noexcept:
        cdef epoll_event event
        cdef int operation = EPOLL_CTL_MOD
        if wanted == self.watched:
            return 0
        if self.watched == 0:
            operation = EPOLL_CTL_ADD
        elif wanted == 0:
            operation = EPOLL_CTL_DEL
        event.events = wanted
        event.data.ptr = <void *>self
        if epoll_ctl(self.sockets.epoll, operation, self.descriptor, &event) < 0:
            return errno
        self.watched = wanted
        return 0


cdef class SocketTransport(Watched):
    """What a Connection reads from and writes to; made by Sockets.begin()."""

    def __cinit__(self, Sockets sockets, accepted, Peer peer, peer_name):
        self.sockets = sockets
        self.socket = accepted
        self.descriptor = accepted.fileno()
        self.peer = peer
        self.names = (peer_name, accepted.getsockname())
        self.reading = True
        self.high_bytes = 65536
        self.low_bytes = 16384

    # --------------------------------------------------------------------------------------- called by the session

    def get_extra_info(self, name, default=None):
        if name == "socket":
            return self.socket
        if name == "peername":
            return self.names[0]
        return self.names[1] if name == "sockname" else default

    def set_write_buffer_limits(self, Py_ssize_t high, Py_ssize_t low):
        """In octets: above `high` the connection is told to pause, at `low` to go on."""
        self.high_bytes, self.low_bytes = high, low

    def get_write_buffer_size(self):
        return self.pending_bytes

    def is_closing(self):
        return self.closing

    def pause_reading(self):
        # The epoll hears of it when there is something to read: most pauses are over by then.
        self.reading = False

    def resume_reading(self):
        self.reading = True
        self.watch()

    def close(self):
        """Once everything is written."""
        if self.closing:
            return
        self.closing = True
        if self.pending_bytes and self.broken is None:
            self.watch()
        else:
            self.end(self.broken)

    def abort(self):
        """At once; what is not written yet is thrown away."""
        self.end(None)

    # -------------------------------------------------------------------------------------------------- reading

    cdef int happened(self, uint32_t events) except -1:
        if self.ended:
            return 0
        if self.pending_bytes and events & <uint32_t>(EPOLLOUT | EPOLLERR | EPOLLHUP):
            self.send_pending()
        if self.reading and not self.closing:
            return self.receive() if events & <uint32_t>(EPOLLIN | EPOLLERR | EPOLLHUP) else 0
        if self.broken is not None:
            return self.end(self.broken)
        # A pause that lasts. Without anything to look for it leaves the epoll, which tells of a socket's end unasked,
        # again and again.
        return self.watch()

    cdef int receive(self) except -1:
        cdef ReadBuffer window = self.peer.window()
        cdef Py_ssize_t count = recv(self.descriptor, window.data + window.offset, window.limit, MSG_DONTWAIT)
        if count > 0:
            self.sockets.unflushed_bytes += count
            self.sockets.round_bytes += count
            self.unanswered_reads += 1
            if self.unanswered_reads < STREAMING_READS:
                self.sockets.round_streams = False
            return self.peer.received(count)
        if count == 0:
            self.peer.eof_received()
            self.close()
        elif not is_for_later(errno):
            self.end(os_error(errno))
        return 0

    cdef int watch(self) except -1:
        cdef uint32_t wanted = 0
        cdef int error
        if self.reading and not self.closing:
            wanted = EPOLLIN
        if self.pending_bytes and not self.ended:
            wanted |= <uint32_t>EPOLLOUT
        error = self.watch_for(wanted)
        # There may be no memory for another one. Nobody would ever look at it again.
        return 0 if error == 0 else self.end(os_error(error))

    # -------------------------------------------------------------------------------------------------- writing

    cdef int write_output(self, OutputBuffer *output) except -1:
        cdef Py_ssize_t count = 0
        self.unanswered_reads = 0
        if self.ended or self.broken is not None:
            output_clear(output)
            return 0
        if self.pending_bytes == 0:
            count = send(self.descriptor, output.data, output.used, MSG_DONTWAIT | MSG_NOSIGNAL)
            if count == output.used:
                output_sent(output)
                return self.end(None) if self.closing else 0
            if count < 0 and not is_for_later(errno):
                output_clear(output)
                return self.write_failed(errno)
            count = max(count, <Py_ssize_t>0)
        self.keep(output_take(output))
        if count:
            self.forget_sent(count)
        return self.note_pending()

    cdef int write_parts(self, list parts) except -1:
        cdef bint is_first = self.pending_bytes == 0
        self.unanswered_reads = 0
        if self.ended or self.broken is not None:
            return 0
        for part in parts:
            self.keep(part)
        return self.send_pending() if is_first else self.note_pending()

    cdef int keep(self, part) except -1:
        if self.pending is None:
            self.pending = deque()
        self.pending.append(part)
        self.pending_bytes += len(part)
        return 0

    cdef int send_pending(self) except -1:
        cdef iovec parts[PARTS_PER_WRITE]
        cdef msghdr message
        cdef Py_ssize_t offered, count
        memset(&message, 0, sizeof(message))
        message.msg_iov = parts
        while self.pending_bytes:
            offered = self.lay_out(parts, &message.msg_iovlen)
            count = sendmsg(self.descriptor, &message, MSG_DONTWAIT | MSG_NOSIGNAL)
            if count < 0 and not is_for_later(errno):
                return self.write_failed(errno)
            if count > 0:
                self.forget_sent(count)
            if count < offered:
                break
        return self.note_pending()

    cdef Py_ssize_t lay_out(self, iovec *parts, size_t *parts_count) except -1:
        """The first of what waits. Returns the octets."""
        cdef Py_ssize_t offered = 0
        cdef Py_ssize_t skipped = self.head_sent
        cdef Py_buffer *view
        cdef size_t at = 0
        for part in self.pending:
            if at == PARTS_PER_WRITE:
                break
            if isinstance(part, bytes):
                parts[at].iov_base = PyBytes_AS_STRING(part) + skipped
                parts[at].iov_len = PyBytes_GET_SIZE(part) - skipped
            else:
                view = PyMemoryView_GET_BUFFER(part)
                parts[at].iov_base = <char *>view.buf + skipped
                parts[at].iov_len = view.len - skipped
            offered += parts[at].iov_len
            skipped = 0
            at += 1
        parts_count[0] = at
        return offered

    cdef int forget_sent(self, Py_ssize_t count) except -1:
        cdef Py_ssize_t left
        self.pending_bytes -= count
        while self.pending:
            left = len(self.pending[0]) - self.head_sent
            if count < left:
                self.head_sent += count
                return 0
            count -= left
            self.head_sent = 0
            self.pending.popleft()
        self.pending = None
        return 0

    cdef int note_pending(self) except -1:
        """What waits has become more or less: tell the connection, and look for room, or no longer."""
        if self.full and self.pending_bytes <= self.low_bytes:
            self.full = False
            self.peer.resume_writing()
        elif not self.full and self.pending_bytes > self.high_bytes:
            self.full = True
            self.peer.pause_writing()
        # What the connection had kept while there was no room comes next, also after close().
        if self.closing and self.pending_bytes == 0 and self.peer.waiting_bytes() == 0:
            return self.end(None)
        return self.watch()

    cdef int write_failed(self, int error) except -1:
        """The client is gone; what it had sent before is read, which a reset of the connection does not take away."""
        self.broken = os_error(error)
        self.pending = None
        self.pending_bytes = self.head_sent = 0
        if self.closing or not self.reading:
            return self.end(self.broken)
        return self.watch()

    cdef int end(self, error) except -1:
        if self.ended:
            return 0
        self.ended = self.closing = True
        self.pending = None
        self.pending_bytes = self.head_sent = 0
        self.watch()
        want_loop()
        self.sockets.loop.call_soon(self.connection_ended, error)
        return 0

    def connection_ended(self, error):
        # Events of a round that had not been dealt with may have pointed to this object until now.
        self.sockets.transports.discard(self)
        peer, self.peer = self.peer, None
        try:
            peer.connection_lost(error)
        finally:
            self.socket.close()


cdef class Sockets:
    """All plain sockets of clients, those that listen, and the journal's descriptor: one epoll, which `loop` looks at.

    Raises OSError when there is no descriptor left for it.
    """

    def __cinit__(self, loop):
        self.loop = loop
        self.transports = set()
        self.events_asked = EVENTS_PER_ROUND
        self.epoll = epoll_create1(EPOLL_CLOEXEC)
        if self.epoll < 0:
            raise os_error(errno)
        # A rest is to take as long as it says, not as much again.
        prctl(PR_SET_TIMERSLACK, 1000)
        loop.add_reader(self.epoll, self.on_readable)

    def __dealloc__(self):
        if self.epoll >= 0:
            close_descriptor(self.epoll)

    def __len__(self):
        return len(self.transports)

    def fileno(self):
        """Readable when something is to be done."""
        return self.epoll

    def begin(self, accepted, Peer peer, peer_name):
        """`accepted`, a connected socket.socket whose other end is `peer_name`, is the connection's from now on."""
        cdef SocketTransport transport
        try:
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            transport = SocketTransport(self, accepted, peer, peer_name)
        except OSError as error:
            accepted.close()
            self.loop.call_soon(peer.connection_lost, error)
            return
        self.transports.add(transport)
        try:
            peer.connection_made(transport)
            transport.watch()
        except Exception as error:
            self.failed(transport, error)

    def watch_journal(self, int descriptor):
        """current_journal().completed() is called when it is readable."""
        cdef epoll_event event
        event.events = EPOLLIN
        event.data.ptr = NULL
        control(self.epoll, EPOLL_CTL_ADD, descriptor, &event)

    def forget_journal(self, int descriptor):
        cdef epoll_event event
        control(self.epoll, EPOLL_CTL_DEL, descriptor, &event)

    def close(self):
        """The event loop looks no more. What is left of connections is their sessions' to end before."""
        self.loop.remove_reader(self.epoll)

    def on_readable(self):
        cdef int count
        if self.resting and is_looking():
            # look() is next, and begins with a rest.
            return
        count = self.wait()
        if count > 0:
            self.deal_with(count)

    def look(self, uint64_t nanoseconds):
        """Rounds for so long, or until the event loop is wanted, or nothing has come for a while. Is it worth to look
        again? Not while the disk is awaited: its thread may have no other core than the one that is kept from it."""
        cdef uint64_t now = now_ns()
        cdef uint64_t ends = now + nanoseconds
        cdef uint64_t silence_ends = now + SILENT_SPIN_NS
        cdef int count
        cdef bint disk_is_awaited
        want_no_loop()
        while True:
            disk_is_awaited = self.disk_is_awaited()
            with nogil:
                if self.resting:
                    rest()
                count = self.wait()
                while count == 0 and now < silence_ends and not disk_is_awaited:
                    count = self.wait()
                    now = now_ns()
            if count <= 0:
                return not disk_is_awaited
            self.deal_with(count)
            self.note_round()
            now = now_ns()
            if now >= ends or is_loop_wanted():
                return True
            silence_ends = now + SILENT_SPIN_NS

    cdef bint disk_is_awaited(self):
        cdef Journal journal = current_journal()
        return journal is not None and journal.submitted > journal.committed

    cdef int wait(self) noexcept nogil:
        # Those that are told now stand behind all others the next time, however few are asked for.
        return epoll_wait(self.epoll, self.events, self.events_asked, 0)

    cdef void adapt_round(self) noexcept:
        """Timers, other doors, and who sends little wait for the whole of a round."""
        if self.round_bytes >= ROUND_BYTES_MAX:
            self.events_asked = max(self.events_asked // 2, <int>EVENTS_ASKED_MIN)
        elif self.round_bytes < ROUND_BYTES_MAX // 2 and self.events_asked < EVENTS_PER_ROUND:
            self.events_asked *= 2

    cdef int deal_with(self, int count) except -1:
        cdef Watched watched
        cdef int at
        note_arrival()
        tell_time()
        begin_turn()
        self.unflushed_bytes = self.round_bytes = 0
        self.round_streams = True
        try:
            for at in range(count):
                if self.events[at].data.ptr == NULL:
                    current_journal().completed()
                    continue
                watched = <Watched>self.events[at].data.ptr
                try:
                    watched.happened(self.events[at].events)
                except Exception as error:
                    self.failed(watched, error)
                if self.unflushed_bytes >= UNFLUSHED_BYTES_MAX:
                    self.unflushed_bytes = 0
                    flush_dirty()
                    begin_turn()
        finally:
            flush_dirty()
            note_dealt_with()
            self.adapt_round()
        return 0

    cdef void note_round(self) noexcept:
        """After a round that nothing was waited for: is a rest before the next one worth it?"""
        if self.round_bytes == 0:
            return
        if self.resting:
            if self.round_streams and self.round_bytes >= REST_FACTOR_MIN * self.usual_bytes:
                return
            self.streaming_rounds = -RESTLESS_ROUNDS if self.round_streams else 0
            self.resting = False
        elif self.round_streams:
            self.streaming_rounds += 1
            self.resting = self.streaming_rounds >= STREAMING_ROUNDS and self.usual_bytes < REST_BYTES_MAX
            self.usual_bytes += (self.round_bytes - self.usual_bytes) // 4
        else:
            self.streaming_rounds = 0

    cdef int failed(self, Watched watched, error) except -1:
        """An error of ours: one socket's, not all of theirs."""
        self.loop.call_exception_handler(
            {"message": "a connection ends with an internal error", "exception": error, "transport": watched}
        )
        return watched.end(error)


cdef int control(int epoll, int operation, int descriptor, epoll_event *event) except -1:
    if epoll_ctl(epoll, operation, descriptor, event) < 0:
        raise os_error(errno)
    return 0


cdef void rest() noexcept nogil:
    cdef timespec duration
    duration.tv_sec = 0
    duration.tv_nsec = REST_NS
    # An error ends it early, which does no harm.
    nanosleep(&duration, NULL)


cdef bint is_for_later(int error) noexcept nogil:
    return error == EAGAIN or error == EINTR


cdef object os_error(int error):
    return OSError(error, os.strerror(error))
