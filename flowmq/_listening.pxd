# Sockets on which clients are accepted: looked at in the same rounds as those of the clients that are there, so that
# who comes while all are busy waits for a round and not for the event loop.

from flowmq._sockets cimport Watched

cdef class Listening(Watched):
    cdef object accepted        # callback(socket, name of the other end)
    cdef object failed          # callback(OSError)

    cdef object wrapped(self, int descriptor)
