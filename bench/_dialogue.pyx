# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# One client that asks and waits, over and over, without the interpreter in between: what a round trip costs.
#
# A dialogue is a list of (octets to send, the method that answers them). Sockets are blocking. Whatever else comes than
# the answer, heartbeats aside, ends it with a text.

from cpython.exc cimport PyErr_CheckSignals
from libc.errno cimport EINTR, errno
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memmove, memset

from bench._octets cimport FRAME_HEARTBEAT, FRAME_OVERHEAD_BYTES, FRAME_PREFIX_BYTES, load_long
from bench._system cimport (
    AF_INET, INADDR_LOOPBACK, IPPROTO_TCP, MSG_NOSIGNAL, SOCK_CLOEXEC, SOCK_STREAM, SOL_SOCKET, SO_LINGER, TCP_NODELAY,
    close, connect, htonl, htons, linger, monotonic_ns, recv, send, setsockopt, sockaddr_in, socket
)

cdef enum:
    INBOX_BYTES = 65536
    CYCLES_PER_CHECK = 64


class DialogueError(Exception):
    """The broker closed, or answered what was not asked."""


cdef struct Turn:
    char *octets
    size_t size
    uint32_t answer     # (class << 16) | method


cdef struct Dialogue:
    Turn *turns
    Py_ssize_t count
    char *inbox
    size_t inbox_bytes
    uint32_t came       # the method that came instead of the answer


cdef int prepare(Dialogue *dialogue, list turns) except -1:
    cdef Turn *turn
    cdef Py_ssize_t size
    memset(dialogue, 0, sizeof(Dialogue))
    dialogue.turns = <Turn *>malloc(max(len(turns), 1) * sizeof(Turn))
    dialogue.inbox = <char *>malloc(INBOX_BYTES)
    if dialogue.turns == NULL or dialogue.inbox == NULL:
        raise MemoryError
    for octets, (class_id, method_id) in turns:
        turn = &dialogue.turns[dialogue.count]
        size = len(octets)
        turn.size = <size_t>size
        turn.answer = <uint32_t>class_id << 16 | <uint32_t>method_id
        turn.octets = <char *>malloc(<size_t>size + 1)
        if turn.octets == NULL:
            raise MemoryError
        memcpy(turn.octets, <const char *>octets, <size_t>size)
        dialogue.count += 1
    return 0


cdef void forget(Dialogue *dialogue) noexcept:
    cdef Py_ssize_t i
    for i in range(dialogue.count):
        free(dialogue.turns[i].octets)
    free(dialogue.turns)
    free(dialogue.inbox)


cdef bint say(int descriptor, const Turn *turn) noexcept nogil:
    cdef size_t done = 0
    cdef ssize_t sent
    while done < turn.size:
        sent = send(descriptor, turn.octets + done, turn.size - done, MSG_NOSIGNAL)
        if sent >= 0:
            done += <size_t>sent
        elif errno != EINTR:
            return False
    return True


cdef bint hear(int descriptor, Dialogue *dialogue, const Turn *turn) noexcept nogil:
    """Read up to the next method, which has to be the answer."""
    cdef ssize_t received
    cdef size_t frame_bytes
    cdef bint is_heartbeat
    while True:
        while dialogue.inbox_bytes >= FRAME_OVERHEAD_BYTES + 4 or \
                (dialogue.inbox_bytes >= FRAME_OVERHEAD_BYTES and dialogue.inbox[0] == FRAME_HEARTBEAT):
            frame_bytes = load_long(dialogue.inbox + 3) + FRAME_OVERHEAD_BYTES
            if dialogue.inbox_bytes < frame_bytes:
                break
            is_heartbeat = dialogue.inbox[0] == FRAME_HEARTBEAT
            dialogue.came = load_long(dialogue.inbox + FRAME_PREFIX_BYTES)
            dialogue.inbox_bytes -= frame_bytes
            memmove(dialogue.inbox, dialogue.inbox + frame_bytes, dialogue.inbox_bytes)
            if not is_heartbeat:
                return dialogue.came == turn.answer
        received = recv(descriptor, dialogue.inbox + dialogue.inbox_bytes, INBOX_BYTES - dialogue.inbox_bytes, 0)
        if received > 0:
            dialogue.inbox_bytes += <size_t>received
        elif received == 0 or errno != EINTR:
            dialogue.came = 0
            return False


cdef bint converse(int descriptor, Dialogue *dialogue) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(dialogue.count):
        if not say(descriptor, &dialogue.turns[i]) or not hear(descriptor, dialogue, &dialogue.turns[i]):
            return False
    return True


cdef int connected(const sockaddr_in *address) noexcept nogil:
    """A socket that resets the connection when it is closed: thousands in TIME_WAIT would use up the ports."""
    cdef int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)
    cdef int yes = 1
    cdef linger at_once
    if descriptor < 0:
        return -1
    at_once.l_onoff, at_once.l_linger = 1, 0
    setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes))
    setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once))
    if connect(descriptor, address, sizeof(sockaddr_in)) < 0:
        close(descriptor)
        return -1
    return descriptor


cdef bint connect_and_converse(const sockaddr_in *address, Dialogue *dialogue) noexcept nogil:
    cdef int descriptor = connected(address)
    cdef bint is_done
    if descriptor < 0:
        return False
    dialogue.inbox_bytes = 0
    is_done = converse(descriptor, dialogue)
    close(descriptor)
    return is_done


cdef tuple over_and_over(Dialogue *dialogue, int descriptor, const sockaddr_in *address, double seconds):
    """How often it was held, and in how many seconds; over new connections if there is an address."""
    cdef uint64_t started_ns = monotonic_ns()
    cdef uint64_t deadline_ns = started_ns + <uint64_t>(seconds * 1e9)
    cdef Py_ssize_t count = 0
    cdef bint is_done = True
    while is_done and (monotonic_ns() < deadline_ns or not count):
        with nogil:
            is_done = connect_and_converse(address, dialogue) if address != NULL else converse(descriptor, dialogue)
        count += 1
        if count % CYCLES_PER_CHECK == 0:
            PyErr_CheckSignals()
    if not is_done:
        raise DialogueError(f"method ({dialogue.came >> 16}, {dialogue.came & 0xFFFF}) came instead of the answer"
                            if dialogue.came else "the connection ended")
    return count, (monotonic_ns() - started_ns) / 1e9


def connect_over_and_over(tuple address, list dialogue, double seconds):
    """Connect to this port of 127.0.0.1, hold the dialogue, close."""
    cdef Dialogue prepared
    cdef sockaddr_in to
    host, port = address
    if host not in ("127.0.0.1", "localhost"):
        raise DialogueError("new connections are only made to this machine")
    memset(&to, 0, sizeof(to))
    to.sin_family = AF_INET
    to.sin_port = htons(<uint16_t>port)
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK)
    prepare(&prepared, dialogue)
    try:
        return over_and_over(&prepared, -1, &to, seconds)
    finally:
        forget(&prepared)


def talk_over_and_over(int descriptor, list dialogue, double seconds):
    """Hold the dialogue on this blocking socket again and again."""
    cdef Dialogue prepared
    prepare(&prepared, dialogue)
    try:
        return over_and_over(&prepared, descriptor, NULL, seconds)
    finally:
        forget(&prepared)
