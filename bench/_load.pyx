# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# The load generator: raw AMQP frames over many connections, in one epoll loop without the interpreter.
#
# It gets sockets on which everything is opened and declared already, and only publishes, reads, acknowledges and
# checks. It is not a client library: it knows the few frames a benchmark meets and stops with a text at any other.
#
# Every body begins with two big-endian words of eight octets: the publisher's index (16 bits) with its sequence number
# (48 bits, from 0), and the CLOCK_MONOTONIC nanosecond at which its batch was sent. A group of consumers must get every
# message exactly once between them; each single consumer must see every publisher's numbers rise.
#
# Sockets are watched edge-triggered: `readable` and `writable` stay set until the kernel said otherwise, so that a
# running load makes no other system calls than epoll_wait, recv and send.

from cpython.exc cimport PyErr_CheckSignals
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcpy, memmove, memset, strerror

from bench._latency cimport Latencies, latencies_add, latencies_clear, latencies_quantile
from bench._octets cimport (
    BASIC_ACK, BASIC_CANCEL, BASIC_DELIVER, BASIC_NACK, BASIC_RETURN, CHANNEL_CLOSE, CONNECTION_BLOCKED,
    CONNECTION_CLOSE, CONNECTION_UNBLOCKED, FRAME_BODY, FRAME_END, FRAME_HEADER, FRAME_HEARTBEAT, FRAME_METHOD,
    FRAME_OVERHEAD_BYTES, FRAME_PAYLOAD_BYTES_MAX, FRAME_PREFIX_BYTES, load_long, load_long_long, load_short,
    store_long_long
)
from bench._system cimport (
    CLOCK_MONOTONIC, EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLLERR, EPOLLET, EPOLLHUP, EPOLLIN, EPOLLOUT,
    EPOLLRDHUP, MSG_NOSIGNAL, TFD_CLOEXEC, TFD_NONBLOCK, close, epoll_create1, epoll_ctl, epoll_event, epoll_wait,
    itimerspec, monotonic_ns, read, recv, send, time_t, timerfd_create, timerfd_settime
)

LINGER_SECONDS = 0.02


class LoadError(Exception):
    """The broker closed, or sent what no benchmark expects."""


cdef void *zeroed(size_t count, size_t size) except NULL:
    cdef void *memory = calloc(max(count, <size_t>1), size)
    if memory == NULL:
        raise MemoryError
    return memory


cdef class Load:
    """Publishers and consumers on given sockets, run together; the counters are readable between runs."""

    cdef Link *links
    cdef Py_ssize_t link_count
    cdef Publisher **publishers
    cdef Py_ssize_t publisher_count
    cdef Py_ssize_t publishers_max
    cdef Py_ssize_t groups
    cdef size_t body_bytes
    cdef uint64_t backlog_max
    cdef uint64_t **seen        # [group * publishers_max + publisher]: bitmap of the sequence numbers that arrived
    cdef int epoll
    cdef int timer
    cdef bint publishing
    cdef bint draining
    cdef uint64_t now_ns
    cdef Latencies latencies            # from before send() to after recv(), of deliveries
    cdef Latencies confirm_latencies    # the same of confirms
    cdef int64_t watched                # the publisher whose latencies count; -1: all of them
    cdef char trouble[TROUBLE_BYTES]
    cdef readonly uint64_t published
    cdef readonly uint64_t consumed
    cdef readonly uint64_t confirmed
    cdef readonly uint64_t nacked
    cdef readonly uint64_t returned
    cdef readonly uint64_t duplicated
    cdef readonly uint64_t out_of_order
    cdef readonly bint held_back

    # ------------------------------------------------------------------------------------------------ set-up

    def __cinit__(self, *, Py_ssize_t publishers, Py_ssize_t groups, size_t body_bytes, uint64_t backlog_max):
        self.epoll = self.timer = -1
        self.watched = -1
        if body_bytes < STAMP_BYTES:
            raise ValueError(f"a body needs {STAMP_BYTES} octets for its stamp")
        self.publishers_max = publishers
        self.groups = groups
        self.body_bytes = body_bytes
        self.backlog_max = backlog_max
        self.publishers = <Publisher **>zeroed(publishers, sizeof(Publisher *))
        self.seen = <uint64_t **>zeroed(publishers * groups, sizeof(uint64_t *))
        self.epoll = epoll_create1(EPOLL_CLOEXEC)
        if self.epoll < 0:
            raise OSError(errno, "epoll_create1")

    def __dealloc__(self):
        cdef Py_ssize_t i
        for i in range(self.link_count):
            free_link(&self.links[i])
        free(self.links)
        free(self.publishers)
        if self.seen != NULL:
            for i in range(self.publishers_max * self.groups):
                free(self.seen[i])
        free(self.seen)
        if self.timer >= 0:
            close(self.timer)
        if self.epoll >= 0:
            close(self.epoll)

    cdef Link *add_link(self, int descriptor) except NULL:
        """Watch one more non-blocking socket; it stays the caller's."""
        cdef epoll_event event
        cdef Link *link
        cdef Link *links = <Link *>realloc(self.links, (self.link_count + 1) * sizeof(Link))
        if links == NULL:
            raise MemoryError
        self.links = links
        link = &links[self.link_count]
        memset(link, 0, sizeof(Link))
        self.link_count += 1
        link.descriptor = descriptor
        link.inbox = <char *>zeroed(INBOX_BYTES, 1)
        event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET
        event.data.u32 = <uint32_t>(self.link_count - 1)
        if epoll_ctl(self.epoll, EPOLL_CTL_ADD, descriptor, &event) < 0:
            raise OSError(errno, "epoll_ctl")
        return link

    def add_publisher(self, int descriptor, *, list images, Py_ssize_t batch, uint64_t window=0, bint paced=True):
        """`images` are (octets of one publish, where in them the body begins), sent in turn, `batch` to a send."""
        cdef Publisher *publisher
        if self.publisher_count == self.publishers_max:
            raise ValueError("more publishers than announced")
        if not images or len(images) % batch:
            raise ValueError("the images must fill whole batches")
        if 0 < window < <uint64_t>batch:
            raise ValueError("a batch must fit the confirm window")
        publisher = <Publisher *>zeroed(1, sizeof(Publisher))
        self.add_link(descriptor).publisher = publisher
        publisher.index = <uint64_t>self.publisher_count
        publisher.batch = batch
        publisher.window = window
        publisher.paced = paced
        fill_images(publisher, images)
        self.publishers[self.publisher_count] = publisher
        self.publisher_count += 1
        if window:
            publisher.confirms_mask = (<uint64_t>1 << (window + batch).bit_length()) - 1
            publisher.confirms = <uint8_t *>zeroed(publisher.confirms_mask + 1, 1)
            publisher.sent_ns = <uint64_t *>zeroed(publisher.confirms_mask + 1, sizeof(uint64_t))

    def add_consumer(self, int descriptor, *, Py_ssize_t group, uint64_t ack_every, Py_ssize_t lanes=1,
                     bint paced=False):
        """`ack_every` 0 for auto-ack, 1 for an ack each, n for a multiple ack after every n messages.

        With several lanes it consumes from as many queues, whose order among each other is nobody's concern.
        A paced one reads a little at each tick of the limited rate: a slow consumer.
        """
        cdef Consumer *consumer
        cdef Py_ssize_t i
        if not 0 <= group < self.groups:
            raise ValueError("no such group")
        consumer = <Consumer *>zeroed(1, sizeof(Consumer))
        self.add_link(descriptor).consumer = consumer
        consumer.group = group
        consumer.ack_every = ack_every
        consumer.paced = paced
        consumer.lanes = lanes
        consumer.acks = <char *>zeroed(ACKS_BYTES, 1)
        consumer.last = <int64_t *>zeroed(self.publishers_max * lanes, sizeof(int64_t))
        for i in range(self.publishers_max * lanes):
            consumer.last[i] = -1

    def detach(self):
        """Let go of all sockets; what went over them stays known, for consumers that are added later."""
        cdef Link *link
        cdef Py_ssize_t i
        for i in range(self.link_count):
            link = &self.links[i]
            if link.descriptor >= 0 and epoll_ctl(self.epoll, EPOLL_CTL_DEL, link.descriptor, NULL) < 0:
                raise OSError(errno, "epoll_ctl")
            link.descriptor = -1
            link.readable = link.writable = link.hung = False
            link.outgoing_bytes = 0

    def limit_rate(self, uint64_t interval_ns):
        """From now on every paced publisher sends one batch per interval."""
        cdef epoll_event event
        cdef itimerspec schedule
        self.timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)
        if self.timer < 0:
            raise OSError(errno, "timerfd_create")
        schedule.it_interval.tv_sec = schedule.it_value.tv_sec = <time_t>(interval_ns // 1000000000)
        schedule.it_interval.tv_nsec = schedule.it_value.tv_nsec = <long>(interval_ns % 1000000000)
        event.events = EPOLLIN
        event.data.u32 = TIMER_KEY
        if timerfd_settime(self.timer, 0, &schedule, NULL) < 0 or \
                epoll_ctl(self.epoll, EPOLL_CTL_ADD, self.timer, &event) < 0:
            raise OSError(errno, "timerfd_settime")

    def watch(self, int64_t publisher):
        """Only the latencies of this publisher's messages are of interest, by its number from 0."""
        self.watched = publisher

    # ------------------------------------------------------------------------------------------------ running

    def run(self, double seconds, *, bint publish=True):
        """Play the load for so long; raises LoadError when the broker closes or talks nonsense."""
        cdef uint64_t deadline_ns = monotonic_ns() + <uint64_t>(seconds * 1e9)
        self.publishing = publish
        self.draining = False
        self.forget_due()
        while monotonic_ns() < deadline_ns:
            self.run_slice(deadline_ns)

    def drain(self, double quiet_seconds):
        """Publish no more and read until everything has arrived (True) or nothing has for so long (False)."""
        cdef uint64_t quiet_ns = <uint64_t>(quiet_seconds * 1e9)
        cdef uint64_t progress = self.consumed + self.confirmed
        cdef uint64_t changed_ns = monotonic_ns()
        self.publishing = False
        self.draining = True
        while not self.is_drained():
            self.run_slice(monotonic_ns() + SLICE_MS_MAX * 1000000)
            if self.consumed + self.confirmed != progress:
                progress = self.consumed + self.confirmed
                changed_ns = monotonic_ns()
            elif monotonic_ns() - changed_ns > quiet_ns:
                return False
        self.ack_rest()
        return True

    cdef int run_slice(self, uint64_t deadline_ns) except -1:
        cdef uint64_t slice_ns = min(deadline_ns, monotonic_ns() + SLICE_MS_MAX * 1000000)
        with nogil:
            self.turns(slice_ns)
        if self.trouble[0]:
            raise LoadError(self.trouble[:].split(b"\0", 1)[0].decode("utf-8", "backslashreplace"))
        PyErr_CheckSignals()
        return 0

    cdef void turns(self, uint64_t deadline_ns) noexcept nogil:
        cdef bint busy = True
        self.now_ns = monotonic_ns()
        while self.now_ns < deadline_ns and not self.trouble[0]:
            if self.draining and not busy and self.is_drained():
                return
            self.wait(0 if busy else <int>((deadline_ns - self.now_ns + 999999) // 1000000))
            busy = self.turn()
            self.now_ns = monotonic_ns()

    cdef void wait(self, int timeout_ms) noexcept nogil:
        cdef epoll_event[EVENTS_PER_WAIT] events
        cdef Link *link
        cdef int count = epoll_wait(self.epoll, events, EVENTS_PER_WAIT, timeout_ms)
        cdef int i
        if count < 0 and errno != EINTR:
            self.fail_errno("epoll_wait")
        for i in range(count):
            if events[i].data.u32 == TIMER_KEY:
                self.tick()
                continue
            link = &self.links[events[i].data.u32]
            if events[i].events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR):
                link.readable = True
            if events[i].events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR):
                link.hung = True
            if events[i].events & EPOLLOUT:
                link.writable = True

    cdef bint turn(self) noexcept nogil:
        """One read and some sends per connection; True when more could be done without waiting."""
        cdef bint busy = False
        cdef Link *link
        cdef Py_ssize_t i
        for i in range(self.link_count):
            link = &self.links[i]
            if link.readable and self.may_read(link):
                self.read_link(link)
            if link.writable:
                if link.publisher != NULL:
                    self.publish(link)
                else:
                    self.send_acks(link)
            busy = busy or (link.readable and self.may_read(link)) or self.has_output(link)
        return busy

    cdef bint may_read(self, Link *link) noexcept nogil:
        if link.consumer == NULL:
            return True
        if link.consumer.paced and not link.consumer.due and self.publishing:
            return False
        return link.consumer.acks_bytes <= ACKS_BYTES_FULL

    cdef bint has_output(self, Link *link) noexcept nogil:
        if not link.writable:
            return False
        if link.consumer != NULL:
            return link.consumer.acks_bytes > 0
        return link.outgoing_bytes > 0 or self.may_publish(link.publisher)

    cdef bint is_drained(self) noexcept nogil:
        cdef Py_ssize_t i
        for i in range(self.link_count):
            if self.links[i].outgoing_bytes:
                return False
            if self.links[i].consumer != NULL and self.links[i].consumer.acks_bytes:
                return False
            if self.links[i].publisher != NULL and self.links[i].publisher.window \
                    and self.links[i].publisher.confirmed < self.links[i].publisher.published:
                return False
        return self.consumed - self.duplicated >= self.published * <uint64_t>self.groups

    # ---------------------------------------------------------------------------------------------- publishing

    cdef void forget_due(self) noexcept nogil:
        """What came due between two runs would go out as a burst that no scenario asked for."""
        cdef uint64_t expirations
        cdef Py_ssize_t i
        if self.timer < 0:
            return
        read(self.timer, &expirations, sizeof(expirations))
        for i in range(self.link_count):
            if self.links[i].publisher != NULL:
                self.links[i].publisher.due = 0

    cdef void tick(self) noexcept nogil:
        cdef uint64_t expirations = 0
        cdef Py_ssize_t i
        if read(self.timer, &expirations, sizeof(expirations)) != sizeof(expirations):
            return
        for i in range(self.link_count):
            if self.links[i].publisher != NULL:
                self.links[i].publisher.due += expirations * <uint64_t>self.links[i].publisher.batch
            if self.links[i].consumer != NULL:
                self.links[i].consumer.due = True

    cdef bint may_publish(self, Publisher *publisher) noexcept nogil:
        cdef uint64_t batch = <uint64_t>publisher.batch
        if not self.publishing:
            return False
        if publisher.window and publisher.published + batch > publisher.oldest + publisher.window:
            return False
        if self.timer >= 0 and publisher.paced and publisher.due < batch:
            return False
        if self.published * <uint64_t>self.groups > self.consumed + self.backlog_max:
            self.held_back = True
            return False
        return True

    cdef void publish(self, Link *link) noexcept nogil:
        cdef ssize_t sent
        cdef size_t octets = 0
        cdef int sends = 0
        while sends < SENDS_PER_TURN and octets < OCTETS_PER_TURN:
            if not link.outgoing_bytes and not (self.may_publish(link.publisher) and self.stamp_batch(link)):
                return
            sent = send(link.descriptor, link.outgoing, link.outgoing_bytes, MSG_NOSIGNAL)
            if sent < 0:
                self.send_failed(link)
                return
            link.outgoing += sent
            link.outgoing_bytes -= <size_t>sent
            octets += <size_t>sent
            sends += 1

    cdef bint stamp_batch(self, Link *link) noexcept nogil:
        """Make the next batch the outgoing one."""
        cdef Publisher *publisher = link.publisher
        cdef uint64_t word = publisher.index << SEQUENCE_BITS | publisher.published
        cdef uint64_t now_ns = monotonic_ns()
        cdef Py_ssize_t first = publisher.image_next
        cdef Py_ssize_t end = first + publisher.batch
        cdef Py_ssize_t i
        if publisher.published + <uint64_t>publisher.batch > publisher.seen_bits and not self.grow_seen(publisher):
            return False
        for i in range(first, end):
            store_long_long(publisher.images + publisher.stamps[i], word)
            store_long_long(publisher.images + publisher.stamps[i] + 8, now_ns)
            word += 1
        if publisher.window:
            for i in range(publisher.batch):
                publisher.sent_ns[(publisher.published + <uint64_t>i) & publisher.confirms_mask] = now_ns
        link.outgoing = publisher.images + publisher.starts[first]
        link.outgoing_bytes = publisher.starts[end] - publisher.starts[first]
        publisher.image_next = 0 if end == publisher.image_count else end
        publisher.published += <uint64_t>publisher.batch
        self.published += <uint64_t>publisher.batch
        if self.timer >= 0 and publisher.paced:
            publisher.due -= <uint64_t>publisher.batch
        return True

    cdef bint grow_seen(self, Publisher *publisher) noexcept nogil:
        cdef uint64_t bits = max(publisher.seen_bits * 2, <uint64_t>1 << 20)
        cdef uint64_t **bitmap
        cdef uint64_t *grown
        cdef Py_ssize_t group
        for group in range(self.groups):
            bitmap = &self.seen[group * self.publishers_max + <Py_ssize_t>publisher.index]
            grown = <uint64_t *>realloc(bitmap[0], bits >> 3)
            if grown == NULL:
                self.fail("out of memory for the sequence numbers")
                return False
            memset(<char *>grown + (publisher.seen_bits >> 3), 0, (bits - publisher.seen_bits) >> 3)
            bitmap[0] = grown
        publisher.seen_bits = bits
        return True

    cdef void confirm(self, Link *link, uint64_t tag, bint multiple) noexcept nogil:
        cdef Publisher *publisher = link.publisher
        cdef uint64_t sequence = tag - 1
        if publisher == NULL or not publisher.window:
            self.fail("a confirm on a channel without confirms")
            return
        if multiple and tag == 0:
            sequence = publisher.published - 1
        if sequence >= publisher.published or (sequence < publisher.oldest and not multiple):
            self.fail("a confirm for a publish that does not wait for one")
            return
        if multiple:
            while publisher.oldest <= sequence:
                self.confirm_one(publisher, publisher.oldest)
                publisher.confirms[publisher.oldest & publisher.confirms_mask] = 0
                publisher.oldest += 1
        elif publisher.confirms[sequence & publisher.confirms_mask]:
            self.fail("a publish was confirmed twice")
        else:
            self.confirm_one(publisher, sequence)
        while publisher.oldest < publisher.published and publisher.confirms[publisher.oldest & publisher.confirms_mask]:
            publisher.confirms[publisher.oldest & publisher.confirms_mask] = 0
            publisher.oldest += 1

    cdef void confirm_one(self, Publisher *publisher, uint64_t sequence) noexcept nogil:
        # A multiple ack may sweep over publishes that had an ack of their own.
        if not publisher.confirms[sequence & publisher.confirms_mask]:
            publisher.confirms[sequence & publisher.confirms_mask] = 1
            if self.watched < 0 or <uint64_t>self.watched == publisher.index:
                add_latency(&self.confirm_latencies, publisher.sent_ns[sequence & publisher.confirms_mask], self.now_ns)
            publisher.confirmed += 1
            self.confirmed += 1

    # ------------------------------------------------------------------------------------------------ reading

    cdef void read_link(self, Link *link) noexcept nogil:
        cdef size_t room = INBOX_BYTES - link.inbox_bytes
        cdef ssize_t received
        if link.consumer != NULL and link.consumer.paced and self.publishing:
            room = min(room, <size_t>PACED_READ_BYTES)
            link.consumer.due = False
        received = recv(link.descriptor, link.inbox + link.inbox_bytes, room, 0)
        if received > 0:
            # Less than asked for means the socket is empty: the next octet will be an edge.
            link.readable = link.hung or <size_t>received == room
            link.inbox_bytes += <size_t>received
            self.now_ns = monotonic_ns()
            self.parse(link)
        elif received == 0:
            self.fail("the broker closed the connection without a word")
        elif errno == EAGAIN:
            link.readable = False
        elif errno != EINTR:
            self.fail_errno("recv")

    cdef void parse(self, Link *link) noexcept nogil:
        cdef char *at = link.inbox
        cdef char *end = link.inbox + link.inbox_bytes
        cdef uint32_t payload_bytes
        while end - at >= FRAME_OVERHEAD_BYTES and not self.trouble[0]:
            payload_bytes = load_long(at + 3)
            if payload_bytes > FRAME_PAYLOAD_BYTES_MAX:
                self.fail("a frame larger than agreed")
            elif <size_t>(end - at) < <size_t>payload_bytes + FRAME_OVERHEAD_BYTES:
                break
            elif <uint8_t>at[FRAME_PREFIX_BYTES + payload_bytes] != FRAME_END:
                self.fail("a frame that does not end in 0xCE")
            else:
                self.take_frame(link, <uint8_t>at[0], at + FRAME_PREFIX_BYTES, payload_bytes)
                at += payload_bytes + FRAME_OVERHEAD_BYTES
        link.inbox_bytes = <size_t>(end - at)
        memmove(link.inbox, at, link.inbox_bytes)

    cdef void take_frame(self, Link *link, uint8_t kind, const char *payload, uint32_t size) noexcept nogil:
        if kind == FRAME_HEARTBEAT:
            return
        if kind == FRAME_METHOD and link.expected == METHOD_NEXT and size >= 4:
            self.take_method(link, load_long(payload), payload + 4, size - 4)
        elif kind == FRAME_HEADER and link.expected == HEADER_NEXT and size >= 14:
            self.take_header(link, load_long_long(payload + 4))
        elif kind == FRAME_BODY and link.expected == BODY_NEXT and 0 < size <= link.body_left:
            self.take_body(link, payload, size)
        elif kind == FRAME_METHOD and size >= 4 and load_long(payload) in (CHANNEL_CLOSE, CONNECTION_CLOSE):
            self.take_close(load_long(payload), payload + 4, size - 4)
        else:
            self.fail_number("a frame out of order, type", kind)

    cdef void take_method(self, Link *link, uint32_t method, const char *fields, uint32_t size) noexcept nogil:
        cdef uint32_t tag_at
        cdef uint64_t confirmed
        if method == BASIC_DELIVER and link.consumer != NULL and size > 0:
            tag_at = 1 + <uint32_t><uint8_t>fields[0]
            if size < tag_at + 8:
                self.fail("a basic.deliver cut short")
                return
            if link.consumer.lanes > 1:
                self.find_lane(link.consumer, fields + 1, tag_at - 1)
            link.consumer.delivery_tag = load_long_long(fields + tag_at)
            link.returned = False
            link.expected = HEADER_NEXT
        elif (method == BASIC_ACK or method == BASIC_NACK) and size >= 9:
            confirmed = self.confirmed
            self.confirm(link, load_long_long(fields), fields[8] & 1)
            if method == BASIC_NACK:
                self.nacked += self.confirmed - confirmed
        elif method == BASIC_RETURN:
            self.returned += 1
            link.returned = True
            link.expected = HEADER_NEXT
        elif method == CHANNEL_CLOSE or method == CONNECTION_CLOSE:
            self.take_close(method, fields, size)
        elif method == BASIC_CANCEL:
            self.fail("the broker cancelled the consumer")
        elif method != CONNECTION_BLOCKED and method != CONNECTION_UNBLOCKED:
            self.fail_method(method)

    cdef void find_lane(self, Consumer *consumer, const char *tag, uint32_t size) noexcept nogil:
        cdef Py_ssize_t lane = 0
        cdef uint32_t i
        for i in range(size):
            lane = lane * 10 + <uint8_t>tag[i] - 48
        if 0 <= lane < consumer.lanes:
            consumer.lane = lane
        else:
            self.fail("a consumer tag of nobody's")

    cdef void take_close(self, uint32_t method, const char *fields, uint32_t size) noexcept nogil:
        cdef uint32_t text_bytes = <uint8_t>fields[2] if size > 2 else 0
        if size < 3 or size < 3 + text_bytes:
            self.fail("a close method cut short")
            return
        snprintf(self.trouble, TROUBLE_BYTES, "the broker closed the %s: %d %.*s",
                 b"channel" if method == CHANNEL_CLOSE else b"connection", <int>load_short(fields),
                 <int>text_bytes, fields + 3)

    cdef void take_header(self, Link *link, uint64_t body_bytes) noexcept nogil:
        if body_bytes != self.body_bytes:
            self.fail_number("a body of a wrong size,", body_bytes)
            return
        link.body_left = body_bytes
        link.stamp_read = False
        link.expected = BODY_NEXT

    cdef void take_body(self, Link *link, const char *payload, uint32_t size) noexcept nogil:
        if not link.stamp_read and not link.returned:
            if size < STAMP_BYTES:
                self.fail("a body cut inside its stamp")
                return
            self.check_stamp(link.consumer, load_long_long(payload), load_long_long(payload + 8))
        link.stamp_read = True
        link.body_left -= size
        if link.body_left == 0:
            link.expected = METHOD_NEXT
            if not link.returned:
                self.consumed += 1
                self.acknowledge(link.consumer)

    cdef void check_stamp(self, Consumer *consumer, uint64_t word, uint64_t sent_ns) noexcept nogil:
        cdef uint64_t index = word >> SEQUENCE_BITS
        cdef uint64_t sequence = word & ((<uint64_t>1 << SEQUENCE_BITS) - 1)
        cdef uint64_t *bitmap
        cdef int64_t *last
        if index >= <uint64_t>self.publisher_count:
            self.fail_number("a body of nobody's, publisher", index)
            return
        if sequence >= self.publishers[index].published:
            self.fail_number("a body that was never sent, number", sequence)
            return
        last = &consumer.last[consumer.lane * self.publishers_max + <Py_ssize_t>index]
        bitmap = self.seen[consumer.group * self.publishers_max + <Py_ssize_t>index]
        if bitmap[sequence >> 6] >> (sequence & 63) & 1:
            self.duplicated += 1
        elif <int64_t>sequence < last[0]:
            self.out_of_order += 1
        else:
            last[0] = <int64_t>sequence
        bitmap[sequence >> 6] |= <uint64_t>1 << (sequence & 63)
        if self.watched < 0 or <uint64_t>self.watched == index:
            add_latency(&self.latencies, sent_ns, self.now_ns)

    # ------------------------------------------------------------------------------------------- acknowledging

    cdef void acknowledge(self, Consumer *consumer) noexcept nogil:
        if not consumer.ack_every:
            return
        consumer.unacked += 1
        if consumer.unacked == consumer.ack_every:
            self.put_ack(consumer)

    cdef void put_ack(self, Consumer *consumer) noexcept nogil:
        """Ack all that this consumer has not acked yet."""
        cdef char *at = consumer.acks + consumer.acks_bytes
        memcpy(at, b"\1\0\1\0\0\0\x0d\0\x3c\0\x50", 11)
        store_long_long(at + 11, consumer.delivery_tag)
        at[19] = consumer.unacked > 1
        at[20] = <char>FRAME_END
        consumer.acks_bytes += ACK_FRAME_BYTES
        consumer.unacked = 0

    cdef void send_acks(self, Link *link) noexcept nogil:
        cdef Consumer *consumer = link.consumer
        cdef ssize_t sent
        if not consumer.acks_bytes:
            return
        sent = send(link.descriptor, consumer.acks, consumer.acks_bytes, MSG_NOSIGNAL)
        if sent < 0:
            self.send_failed(link)
            return
        consumer.acks_bytes -= <size_t>sent
        memmove(consumer.acks, consumer.acks + sent, consumer.acks_bytes)

    cdef int ack_rest(self) except -1:
        """The last, incomplete round of multiple acks; then a moment for a late duplicate or a close to show."""
        cdef Py_ssize_t i
        for i in range(self.link_count):
            if self.links[i].consumer != NULL and self.links[i].consumer.unacked:
                self.put_ack(self.links[i].consumer)
        self.run(LINGER_SECONDS, publish=False)
        return 0

    # ------------------------------------------------------------------------------------------------ failing

    cdef void send_failed(self, Link *link) noexcept nogil:
        if errno == EAGAIN:
            link.writable = False
        elif errno != EINTR and not link.hung:
            # What a closing broker said before it reset the connection is worth more than the errno of our write.
            link.hung = link.readable = True
            link.writable = False

    cdef void fail(self, const char *text) noexcept nogil:
        if not self.trouble[0]:
            snprintf(self.trouble, TROUBLE_BYTES, "%s", text)

    cdef void fail_errno(self, const char *call) noexcept nogil:
        if not self.trouble[0]:
            snprintf(self.trouble, TROUBLE_BYTES, "%s: %s", call, strerror(errno))

    cdef void fail_number(self, const char *text, uint64_t number) noexcept nogil:
        if not self.trouble[0]:
            snprintf(self.trouble, TROUBLE_BYTES, "%s %llu", text, <unsigned long long>number)

    cdef void fail_method(self, uint32_t method) noexcept nogil:
        if not self.trouble[0]:
            snprintf(self.trouble, TROUBLE_BYTES, "unexpected method {%u,%u}", method >> 16, method & 0xFFFF)

    # ------------------------------------------------------------------------------------------------ results

    @property
    def expected(self):
        """Deliveries that must arrive for what was published so far."""
        return self.published * <uint64_t>self.groups

    @property
    def lost(self):
        """Deliveries that have not arrived; only after drain() does it mean a loss."""
        return self.expected - (self.consumed - self.duplicated)

    def forget_latencies(self):
        latencies_clear(&self.latencies)
        latencies_clear(&self.confirm_latencies)

    def latency_us(self, double quantile):
        """The latency that this share of the deliveries stayed below, or None when there was none."""
        return quantile_us(&self.latencies, quantile)

    def confirm_latency_us(self, double quantile):
        """The same of the confirms."""
        return quantile_us(&self.confirm_latencies, quantile)


cdef void add_latency(Latencies *latencies, uint64_t sent_ns, uint64_t now_ns) noexcept nogil:
    latencies_add(latencies, now_ns - sent_ns if now_ns > sent_ns else 0)


cdef quantile_us(const Latencies *latencies, double quantile):
    return latencies_quantile(latencies, quantile) / 1000 if latencies.total else None


cdef int fill_images(Publisher *publisher, list images) except -1:
    cdef Py_ssize_t i
    cdef size_t start = 0
    publisher.image_count = len(images)
    publisher.starts = <size_t *>zeroed(len(images) + 1, sizeof(size_t))
    publisher.stamps = <size_t *>zeroed(len(images), sizeof(size_t))
    for i, (image, body_at) in enumerate(images):
        if body_at + STAMP_BYTES > len(image):
            raise ValueError("the stamp does not fit the body")
        publisher.starts[i] = start
        publisher.stamps[i] = start + <size_t>body_at
        start += <size_t>len(image)
    publisher.starts[len(images)] = start
    octets = b"".join([image for image, _ in images])
    publisher.images = <char *>zeroed(start, 1)
    memcpy(publisher.images, <const char *>octets, start)
    return 0


cdef void free_link(Link *link) noexcept:
    free(link.inbox)
    if link.publisher != NULL:
        free(link.publisher.images)
        free(link.publisher.starts)
        free(link.publisher.stamps)
        free(link.publisher.confirms)
        free(link.publisher.sent_ns)
        free(link.publisher)
    if link.consumer != NULL:
        free(link.consumer.acks)
        free(link.consumer.last)
        free(link.consumer)
