# See _listening.pxd for what this module is and is not.

from libc.errno cimport EAGAIN, ECONNABORTED, EINTR, errno
from libc.stdint cimport uint32_t

from flowmq._frame cimport FLOWMQ_CONTRACT
from flowmq._peer cimport begin_turn
from flowmq._sockets cimport Watched, os_error

import socket

from flowmq._frame import check_contract

check_contract(FLOWMQ_CONTRACT)

cdef extern from "<sys/epoll.h>" nogil:
    int EPOLLIN

cdef extern from "<sys/socket.h>" nogil:
    int SOCK_CLOEXEC
    int SOCK_NONBLOCK
    struct sockaddr:
        pass
    ctypedef unsigned int socklen_t
    int accept4(int descriptor, sockaddr *address, socklen_t *address_bytes, int flags)

cdef enum:
    ACCEPTS_PER_ROUND = 25      # with a session for each they take some 3 milliseconds


cdef class Listening(Watched):
    """`listening`, a socket.socket that listens, is looked at between begin() and stop().

    `accepted(socket, name)` is called for each client, with the name of its end. `failed(error)` is called with the
    OSError for want of which there was no client, such as that there are no more descriptors.
    """

    def __cinit__(self, sockets, listening, accepted, failed):
        self.sockets = sockets
        self.socket = listening
        self.descriptor = listening.fileno()
        self.accepted = accepted
        self.failed = failed

    def begin(self):
        """Raises OSError."""
        cdef int error = self.watch_for(EPOLLIN)
        if error:
            raise os_error(error)

    def stop(self):
        """Nobody is accepted any more."""
        self.watch_for(0)

    cdef int happened(self, uint32_t events) except -1:
        cdef int descriptor
        for _ in range(ACCEPTS_PER_ROUND):
            if not self.watched:
                return 0
            descriptor = accept4(self.descriptor, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)
            if descriptor < 0:
                if errno not in (EAGAIN, EINTR, ECONNABORTED):
                    self.failed(os_error(errno))
                return 0
            client = self.wrapped(descriptor)
            try:
                name = client.getpeername()
            except OSError:
                # It has gone already.
                client.close()
                continue
            self.accepted(client, name)
            # It has had one of its own.
            begin_turn()
        return 0

    cdef object wrapped(self, int descriptor):
        # Told what it is, Python does not ask the kernel.
        client = socket.socket(self.socket.family, self.socket.type, self.socket.proto, descriptor)
        client.setblocking(False)
        return client

    cdef int end(self, error) except -1:
        # What went wrong is one client's. The others are still to be let in.
        return 0
