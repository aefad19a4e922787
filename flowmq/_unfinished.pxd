# The beginning of a frame that is not whole yet, kept aside until the rest has come.

from libc.stdint cimport uint8_t

cdef struct Unfinished:
    # Empty, it owns nothing.
    uint8_t *octets
    Py_ssize_t used
    Py_ssize_t capacity

# `needed`: how many octets there will be in the end, as far as that is known.
cdef int unfinished_append(Unfinished *unfinished, const uint8_t *octets, Py_ssize_t count, Py_ssize_t needed) except -1
cdef void unfinished_clear(Unfinished *unfinished) noexcept
