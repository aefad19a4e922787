# See _unfinished.pxd for what this module is and is not.

from libc.stdlib cimport free, realloc
from libc.string cimport memcpy

from flowmq._frame cimport FLOWMQ_CONTRACT

from flowmq._frame import check_contract

check_contract(FLOWMQ_CONTRACT)


cdef int unfinished_append(Unfinished *unfinished, const uint8_t *octets, Py_ssize_t count,
                           Py_ssize_t needed) except -1:
    cdef Py_ssize_t wanted = unfinished.used + count
    cdef void *moved
    if wanted > unfinished.capacity:
        # Follows what came, not what was announced: a size alone must not cost memory.
        wanted = max(wanted, min(unfinished.capacity * 2, needed))
        moved = realloc(unfinished.octets, wanted)
        if moved == NULL:
            raise MemoryError("an unfinished frame")
        unfinished.octets = <uint8_t *>moved
        unfinished.capacity = wanted
    memcpy(unfinished.octets + unfinished.used, octets, count)
    unfinished.used += count
    return 0


cdef void unfinished_clear(Unfinished *unfinished) noexcept:
    free(unfinished.octets)
    unfinished.octets = NULL
    unfinished.used = unfinished.capacity = 0
