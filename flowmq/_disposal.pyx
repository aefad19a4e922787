# cython: linetrace=False
# See _disposal.pxd for what this module is and is not.
#
# The module has no line tracing: in the thread it would take the GIL.

from posix.unistd cimport close as close_descriptor

from flowmq._frame cimport FLOWMQ_CONTRACT
from flowmq._threads cimport pthread_t, start_thread

from flowmq._frame import check_contract

check_contract(FLOWMQ_CONTRACT)

cdef extern from "<pthread.h>" nogil:
    int pthread_detach(pthread_t)


cdef void *run(void *argument) noexcept nogil:
    # Of something that was deleted a failure says nothing that anybody could act on.
    close_descriptor(<int><Py_ssize_t>argument)
    return NULL


cdef void dispose_of(int fd) noexcept:
    cdef pthread_t thread
    if start_thread(&thread, b"flowmq-disposal", run, <void *><Py_ssize_t>fd) == 0:
        pthread_detach(thread)
    else:
        # No more threads to be had: late is better than never.
        close_descriptor(fd)


# ----------------------------------------------------------------------------------------------------- for tests

def _dispose_of(int fd):
    dispose_of(fd)
