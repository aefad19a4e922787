# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# The floor: what the kernel takes for the wire work of a load, whoever does it.
#
# A relay turns publishes into deliveries with epoll_wait, recv and send and nothing else: it knows the one publish that
# will come, routes in turn, reads acknowledgements without looking at them, confirms what a read has brought at once
# and syncs nothing. A responder answers the n-th read with the n-th answer. No broker can take less with these calls.

from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memmove

from bench._octets cimport store_long_long
from bench._system cimport (
    EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLLIN, MSG_DONTWAIT, MSG_NOSIGNAL, close, epoll_create1, epoll_ctl,
    epoll_event, epoll_wait, recv, send
)

cdef enum:
    READ_BYTES = 65536
    WRITE_BYTES = 262144
    EVENTS_MAX = 256
    CONFIRM_BYTES = 21
    CONFIRM_TAG_AT = 11

cdef const char *CONFIRM = b"\x01\x00\x01\x00\x00\x00\x0d\x00\x3c\x00\x50\0\0\0\0\0\0\0\0\x01\xce"


cdef struct Side:
    int descriptor
    bint publishes
    uint64_t count          # publishes read, or deliveries made
    char *octets            # what is not whole yet, or is to be sent
    size_t used


cdef struct Wire:
    const char *method      # of a delivery
    size_t method_bytes
    size_t tag_at           # in it
    size_t publish_bytes    # of one publish
    size_t content_at       # in it
    bint confirms
    Side *consumers
    Py_ssize_t consumer_count
    Py_ssize_t next


cdef bint send_all(int descriptor, const char *octets, size_t count) noexcept nogil:
    cdef size_t done = 0
    cdef ssize_t sent
    while done < count:
        sent = send(descriptor, octets + done, count - done, MSG_NOSIGNAL)
        if sent >= 0:
            done += <size_t>sent
        elif errno != EINTR:
            return False
    return True


cdef bint flush_side(Side *side) noexcept nogil:
    cdef bint done = side.used == 0 or send_all(side.descriptor, side.octets, side.used)
    side.used = 0
    return done


cdef bint deliver(Wire *wire, const char *publish) noexcept nogil:
    cdef Side *to = &wire.consumers[wire.next]
    cdef size_t content_bytes = wire.publish_bytes - wire.content_at
    wire.next = (wire.next + 1) % wire.consumer_count
    if to.used + wire.method_bytes + content_bytes > WRITE_BYTES and not flush_side(to):
        return False
    to.count += 1
    memcpy(to.octets + to.used, wire.method, wire.method_bytes)
    store_long_long(to.octets + to.used + wire.tag_at, to.count)
    memcpy(to.octets + to.used + wire.method_bytes, publish + wire.content_at, content_bytes)
    to.used += wire.method_bytes + content_bytes
    return True


cdef bint confirm(Side *publisher) noexcept nogil:
    cdef char answer[CONFIRM_BYTES]
    memcpy(answer, CONFIRM, CONFIRM_BYTES)
    store_long_long(answer + CONFIRM_TAG_AT, publisher.count)
    return send_all(publisher.descriptor, answer, CONFIRM_BYTES)


cdef int read_side(Side *side, Wire *wire) noexcept nogil:
    """1, or 0 when the other end has closed, or -1 when something failed."""
    cdef size_t at = 0
    cdef uint64_t before = side.count
    cdef ssize_t received = recv(side.descriptor, side.octets + side.used, READ_BYTES, MSG_DONTWAIT)
    if received <= 0:
        return 0 if received == 0 else 1 if errno == EAGAIN or errno == EINTR else -1
    if not side.publishes:
        return 1
    side.used += <size_t>received
    while side.used - at >= wire.publish_bytes:
        if not deliver(wire, side.octets + at):
            return -1
        at += wire.publish_bytes
        side.count += 1
    side.used -= at
    memmove(side.octets, side.octets + at, side.used)
    return 1 if not wire.confirms or side.count == before or confirm(side) else -1


cdef int run(int epoll, Side *sides, Py_ssize_t count, Wire *wire) noexcept nogil:
    cdef epoll_event events[EVENTS_MAX]
    cdef Py_ssize_t left = count
    cdef Py_ssize_t i
    cdef int ready, state
    cdef Side *side
    while left:
        ready = epoll_wait(epoll, events, EVENTS_MAX, -1)
        if ready < 0 and errno != EINTR:
            return -1
        for i in range(ready):
            side = &sides[events[i].data.u32]
            state = read_side(side, wire)
            if state < 0:
                return -1
            if state == 0:
                epoll_ctl(epoll, EPOLL_CTL_DEL, side.descriptor, NULL)
                left -= 1
        for i in range(wire.consumer_count):
            if not flush_side(&wire.consumers[i]):
                return -1
    return 0


def relay(list publishers, list consumers, bytes method, *, Py_ssize_t tag_at, Py_ssize_t publish_bytes,
          Py_ssize_t content_at, bint confirms):
    """Until the other ends of all sockets are closed. Publishes of `publish_bytes`, content from `content_at` on.

    `method` is the deliver method's frame, with its tag at `tag_at`.
    """
    cdef Py_ssize_t count = len(publishers) + len(consumers)
    cdef Side *sides = <Side *>calloc(count, sizeof(Side))
    cdef int epoll = epoll_create1(EPOLL_CLOEXEC)
    cdef epoll_event event
    cdef Wire wire
    cdef Py_ssize_t i
    cdef int state
    if sides == NULL or epoll < 0:
        raise MemoryError
    wire.method, wire.method_bytes, wire.tag_at = method, <size_t>len(method), <size_t>tag_at
    wire.publish_bytes, wire.content_at, wire.confirms = <size_t>publish_bytes, <size_t>content_at, confirms
    wire.consumers, wire.consumer_count, wire.next = sides, len(consumers), 0
    for i, descriptor in enumerate([*consumers, *publishers]):
        sides[i].descriptor = descriptor
        sides[i].publishes = i >= wire.consumer_count
        # Consumers' acknowledgements are read over what is to be sent, of which there is none between two turns.
        sides[i].octets = <char *>calloc(WRITE_BYTES + READ_BYTES, 1)
        if sides[i].octets == NULL:
            raise MemoryError
        event.events, event.data.u32 = EPOLLIN, <uint32_t>i
        if epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event) < 0:
            raise OSError(errno, "epoll_ctl")
    with nogil:
        state = run(epoll, sides, count, &wire)
    close(epoll)
    for i in range(count):
        free(sides[i].octets)
    free(sides)
    if state < 0:
        raise OSError(errno, "the relay's sockets")


def respond(int descriptor, list answers):
    """The n-th read has the n-th answer, from the first again after the last; until the other end closes."""
    cdef char inbox[READ_BYTES]
    cdef const char *octets
    cdef size_t size
    cdef ssize_t received
    cdef Py_ssize_t turn = 0
    while True:
        answer = answers[turn % len(answers)]
        octets, size = answer, <size_t>len(answer)
        with nogil:
            received = recv(descriptor, inbox, READ_BYTES, 0)
        if received <= 0:
            return
        with nogil:
            send_all(descriptor, octets, size)
        turn += 1
