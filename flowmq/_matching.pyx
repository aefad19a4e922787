# See _matching.pxd for what this module is and is not.

from libc.stdlib cimport calloc, free, realloc

from flowmq._frame cimport FLOWMQ_CONTRACT, load_long_long

from os import urandom

from flowmq._frame import check_contract

check_contract(FLOWMQ_CONTRACT)

hash_seed = load_long_long(octets_of(urandom(8)))
hash_secret = load_long_long(octets_of(urandom(8))) | 1


cdef void *resized(void *block, size_t block_bytes) except NULL:
    block = realloc(block, block_bytes)
    if block == NULL:
        raise MemoryError
    return block


cdef int widen(Gathering *gathering) except -1:
    cdef Py_ssize_t capacity = max(gathering.capacity * 2, <Py_ssize_t>64)
    cdef Seen *seen
    cdef Py_ssize_t position
    gathering.found = <PyObject **>resized(gathering.found, capacity * sizeof(PyObject *))
    seen = <Seen *>calloc(capacity * 2, sizeof(Seen))
    if seen == NULL:
        raise MemoryError
    free(gathering.seen)
    gathering.seen = seen
    gathering.seen_mask = capacity * 2 - 1
    gathering.capacity = capacity
    for position in range(gathering.count):
        note(gathering, gathering.found[position])
    return 0


leaving_count = 0


cdef bint begin_leaving(PyObject *target) noexcept nogil:
    global leaving_count
    if leaving_count == LEAVING_MAX:
        return False
    leaving[leaving_count] = target
    leaving_count += 1
    return True


cdef void end_leaving(PyObject *target) noexcept nogil:
    # A target may leave several tables.
    global leaving_count
    cdef Py_ssize_t position = 0
    while leaving[position] != target:
        position += 1
    leaving_count -= 1
    leaving[position] = leaving[leaving_count]


cdef bint is_leaving(PyObject *target) noexcept nogil:
    cdef Py_ssize_t position
    for position in range(leaving_count):
        if leaving[position] == target:
            return True
    return False


cdef class Table:

    cdef int add(self, PyObject *target, bytes key, bytes match) except -1:
        raise NotImplementedError("Table.add")

    cdef int remove(self, PyObject *target, bytes key, bytes match) except -1:
        raise NotImplementedError("Table.remove")

    cdef bint remove_all(self, PyObject *target) except? True:
        return False

    cdef bint free_some(self, Py_ssize_t count) noexcept:
        return False

    cdef int match(self, Gathering *gathering, const uint8_t *key, Py_ssize_t key_bytes) except -1:
        raise NotImplementedError("Table.match")
