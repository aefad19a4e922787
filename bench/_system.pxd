# What the load generator asks of Linux: sockets, epoll, timers and the clock. Declarations only, no module of its own.

from libc.stdint cimport uint16_t, uint32_t, uint64_t

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

cdef extern from "netinet/in.h" nogil:
    enum:
        IPPROTO_TCP
        INADDR_LOOPBACK
    struct in_addr:
        uint32_t s_addr
    struct sockaddr_in:
        unsigned short sin_family
        uint16_t sin_port
        in_addr sin_addr
    uint16_t htons(uint16_t value)
    uint32_t htonl(uint32_t value)

cdef extern from "netinet/tcp.h" nogil:
    int TCP_NODELAY

cdef extern from "sys/socket.h" nogil:
    enum:
        AF_INET
        SOCK_STREAM
        SOCK_CLOEXEC
        SOL_SOCKET
        SO_LINGER
    int MSG_DONTWAIT
    int MSG_NOSIGNAL
    struct linger:
        int l_onoff
        int l_linger
    int socket(int domain, int kind, int protocol)
    int connect(int descriptor, const void *address, uint32_t size)
    int setsockopt(int descriptor, int level, int option, const void *value, uint32_t size)
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
        EPOLL_CTL_DEL
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

cdef inline uint64_t monotonic_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <uint64_t>now.tv_sec * 1000000000 + <uint64_t>now.tv_nsec
