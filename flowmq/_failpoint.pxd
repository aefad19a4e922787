# Where a debug build dies on request, as by kill -9: FLOWMQ_FAILPOINT=name:n in the environment, at the n-th time.
#
# Other builds have none: a failpoint there costs nothing.

cdef extern from *:
    """
    #ifdef FLOWMQ_DEBUG
    #define FLOWMQ_HAS_FAILPOINTS 1
    #else
    #define FLOWMQ_HAS_FAILPOINTS 0
    #endif
    """
    const bint FLOWMQ_HAS_FAILPOINTS

cdef int reach_failpoint(str name) except -1

cdef inline int failpoint(str name) except -1:
    if FLOWMQ_HAS_FAILPOINTS:
        reach_failpoint(name)
    return 0
