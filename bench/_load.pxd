# What the load generator is made of: the system calls it uses, the octets it knows, a struct per role of a connection.
#
# A declaration file only to keep _load.pyx readable; nothing else may cimport it.

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from "endian.h" nogil:
    uint16_t be16toh(uint16_t value)
    uint32_t be32toh(uint32_t value)
    uint64_t be64toh(uint64_t value)
    uint64_t htobe64(uint64_t value)

cdef extern from "time.h" nogil:
    ctypedef long time_t
    struct timespec:
        time_t tv_sec
        long tv_nsec
    struct itimerspec:
        timespec it_interval
        timespec it_value
    int CLOCK_MONOTONIC
    int clock_gettime(int clock, timespec *now)

cdef extern from "unistd.h" nogil:
    ssize_t read(int descriptor, void *into, size_t count)
    int close(int descriptor)

cdef extern from "sys/socket.h" nogil:
    int MSG_NOSIGNAL
    ssize_t recv(int descriptor, void *into, size_t count, int flags)
    ssize_t send(int descriptor, const void *data, size_t count, int flags)

cdef extern from "sys/timerfd.h" nogil:
    int TFD_NONBLOCK
    int TFD_CLOEXEC
    int timerfd_create(int clock, int flags)
    int timerfd_settime(int descriptor, int flags, const itimerspec *new, itimerspec *old)

cdef extern from "sys/epoll.h" nogil:
    enum:
        EPOLL_CLOEXEC
        EPOLL_CTL_ADD
        EPOLLIN
        EPOLLOUT
        EPOLLERR
        EPOLLHUP
        EPOLLRDHUP
        EPOLLET
    union epoll_data_t:
        uint32_t u32
    struct epoll_event:
        uint32_t events
        epoll_data_t data
    int epoll_create1(int flags)
    int epoll_ctl(int epoll, int operation, int descriptor, epoll_event *event)
    int epoll_wait(int epoll, epoll_event *events, int count, int timeout_ms)

cdef extern from * nogil:
    int leading_zeros "__builtin_clzll"(uint64_t value)

cdef enum:
    FRAME_METHOD = 1
    FRAME_HEADER = 2
    FRAME_BODY = 3
    FRAME_HEARTBEAT = 8
    FRAME_END = 0xCE
    FRAME_PREFIX_BYTES = 7
    FRAME_OVERHEAD_BYTES = 8

    # (class << 16) | method
    CONNECTION_CLOSE = 10 << 16 | 50
    CONNECTION_BLOCKED = 10 << 16 | 60
    CONNECTION_UNBLOCKED = 10 << 16 | 61
    CHANNEL_CLOSE = 20 << 16 | 40
    BASIC_CANCEL = 60 << 16 | 30
    BASIC_RETURN = 60 << 16 | 50
    BASIC_DELIVER = 60 << 16 | 60
    BASIC_ACK = 60 << 16 | 80
    BASIC_NACK = 60 << 16 | 120

    STAMP_BYTES = 16
    SEQUENCE_BITS = 48
    ACK_FRAME_BYTES = 21
    INBOX_BYTES = 524288        # one recv at most, and more than the largest frame
    FRAME_PAYLOAD_BYTES_MAX = 131072
    ACKS_BYTES = 524288
    ACKS_BYTES_FULL = 262144    # above it a consumer reads no further: one read can yield that many octets more
    SENDS_PER_TURN = 16
    OCTETS_PER_TURN = 262144
    EVENTS_PER_WAIT = 256
    SLICE_MS_MAX = 100          # how long a signal such as ^C may wait
    TIMER_KEY = 0xFFFFFFFF
    TROUBLE_BYTES = 512

    # Latency buckets: 64 per power of two, so that a figure is within 1.6 % of the truth.
    LATENCY_BITS = 6
    LATENCY_STEPS = 64
    LATENCY_BUCKETS = (64 - LATENCY_BITS + 1) * LATENCY_STEPS

cdef enum Expected:
    METHOD_NEXT
    HEADER_NEXT
    BODY_NEXT

cdef struct Publisher:
    char *images            # the publishes one after the other, exactly as they are sent
    size_t *starts          # where each begins, and one more: where the last ends
    size_t *stamps          # where in `images` each body begins
    Py_ssize_t image_count
    Py_ssize_t image_next
    Py_ssize_t batch        # publishes per send
    uint64_t index
    uint64_t published      # also the next sequence number
    uint64_t window         # publishes that may wait for their confirm; 0: no confirms
    uint64_t confirmed
    uint64_t oldest         # every publish before this one is confirmed
    uint8_t *confirms       # ring by sequence number: 1 when confirmed
    uint64_t confirms_mask
    uint64_t due            # at a limited rate: publishes whose time has come
    uint64_t seen_bits      # the room in each group's bitmap of this publisher

cdef struct Consumer:
    Py_ssize_t group
    uint64_t ack_every      # 0: auto-ack
    uint64_t unacked
    uint64_t delivery_tag   # the last one
    int64_t *last           # by publisher: the highest sequence number seen here
    char *acks
    size_t acks_bytes

cdef struct Link:
    # One connection with its one channel; either a publisher or a consumer.
    int descriptor
    bint readable
    bint writable
    bint hung               # the other side has closed: read what is left, whatever the edges say
    char *inbox
    size_t inbox_bytes
    Expected expected
    bint returned           # the content being read came back with basic.return
    bint stamp_read
    uint64_t body_left
    const char *outgoing    # a publisher's unsent rest of a batch
    size_t outgoing_bytes
    Publisher *publisher
    Consumer *consumer
