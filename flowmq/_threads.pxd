# How a POSIX thread of our own begins. One that is started here never touches Python: no objects, no GIL.

from posix.signal cimport sigfillset, sigset_t

cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_t:
        pass
    int pthread_create(pthread_t *, const void *, void *(*)(void *) noexcept nogil, void *)
    int pthread_setname_np(pthread_t, const char *)

cdef extern from "<signal.h>" nogil:
    int SIG_SETMASK
    int pthread_sigmask(int, const sigset_t *, sigset_t *)

# With all signals blocked from its first instruction on: they are the main thread's. Returns 0 or an error number.
cdef inline int start_thread(
    pthread_t *thread, const char *name, void *(*run)(void *) noexcept nogil, void *argument
) noexcept nogil:
    cdef sigset_t every, usual
    cdef int error
    sigfillset(&every)
    pthread_sigmask(SIG_SETMASK, &every, &usual)
    error = pthread_create(thread, NULL, run, argument)
    pthread_sigmask(SIG_SETMASK, &usual, NULL)
    if error == 0:
        pthread_setname_np(thread[0], name)
    return error
