# What tables of bindings share: the abstract Table, and the Gathering of targets that a route fills table by table.
#
# Which bindings fit a message is not decided here: see _binding_keys and _headers. Nor is where it goes on from there:
# see _router. From the first match of a route to its last no Python code can run, so targets are borrowed throughout.

from cpython.bytes cimport PyBytes_AS_STRING
from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint64_t

from flowmq._message cimport Message

cdef extern from * nogil:
    """
    #ifndef FLOWMQ_HASH
    #define FLOWMQ_HASH
    #include <stdint.h>
    #include <string.h>
    /* Folded multiplication under two secret numbers. */
    static inline uint64_t hash_fold(uint64_t a, uint64_t b) {
        __extension__ unsigned __int128 product = (unsigned __int128)a * b;
        return (uint64_t)product ^ (uint64_t)(product >> 64);
    }

    static inline uint64_t hash_under(uint64_t seed, uint64_t secret, const uint8_t *octets, size_t count) {
        uint64_t hash = seed ^ count, block;
        uint32_t first, last;
        for (; count >= 8; octets += 8, count -= 8) {
            memcpy(&block, octets, 8);
            hash = hash_fold(hash ^ block, secret);
        }
        if (count >= 4) {
            memcpy(&first, octets, 4);
            memcpy(&last, octets + count - 4, 4);
            hash = hash_fold(hash ^ ((uint64_t)first << 32 | last), secret);
        } else if (count) {
            block = (uint64_t)octets[0] << 16 | (uint64_t)octets[count >> 1] << 8 | octets[count - 1];
            hash = hash_fold(hash ^ block, secret);
        }
        return hash_fold(hash, seed | 1);
    }
    #endif
    """
    uint64_t hash_fold(uint64_t a, uint64_t b)
    uint64_t hash_under(uint64_t seed, uint64_t secret, const uint8_t *octets, size_t count)

# Drawn anew by every process: clients choose the keys, and must not choose the collisions.
cdef uint64_t hash_seed
cdef uint64_t hash_secret

cdef inline uint64_t hash_octets(const uint8_t *octets, size_t count) noexcept nogil:
    return hash_under(hash_seed, hash_secret, octets, count)

cdef inline uint64_t hash_address(const void *address) noexcept nogil:
    return hash_fold(<size_t>address, hash_secret)

cdef inline const uint8_t *octets_of(bytes text) noexcept:
    return <const uint8_t *>PyBytes_AS_STRING(text)

# realloc that raises MemoryError.
cdef void *resized(void *block, size_t block_bytes) except NULL

cdef struct Seen:
    PyObject *target
    uint64_t route              # the number of the route that saw it; older ones mean an empty place

cdef struct Gathering:
    # What a route has found so far, each target once: queues, and exchanges to go on to.
    PyObject **found
    Py_ssize_t count
    Py_ssize_t capacity
    Seen *seen                  # open addressing, at most half full
    uint64_t seen_mask
    uint64_t route              # its number
    uint64_t matches            # with repetitions
    Message *message            # what is routed, borrowed; NULL is one without properties
    bint headers_read           # its headers are decoded

cdef int widen(Gathering *gathering) except -1

# Targets that are gone, and of whose bindings a table still has some: nothing matches those any more. So few that each
# route can look through them; whoever finds no place removes all bindings at once.
cdef enum:
    LEAVING_MAX = 16

cdef PyObject *leaving[LEAVING_MAX]
cdef Py_ssize_t leaving_count

# False when there is no place.
cdef bint begin_leaving(PyObject *target) noexcept nogil
cdef void end_leaving(PyObject *target) noexcept nogil
cdef bint is_leaving(PyObject *target) noexcept nogil

cdef inline bint note(Gathering *gathering, PyObject *target) noexcept nogil:
    # True when this route sees the target for the first time.
    cdef uint64_t at = hash_address(target) & gathering.seen_mask
    while gathering.seen[at].route == gathering.route:
        if gathering.seen[at].target == target:
            return False
        at = (at + 1) & gathering.seen_mask
    gathering.seen[at].target = target
    gathering.seen[at].route = gathering.route
    return True

cdef inline int gather(Gathering *gathering, PyObject *target) except -1:
    if leaving_count and is_leaving(target):
        return 0
    gathering.matches += 1
    if gathering.count == gathering.capacity:
        widen(gathering)
    if note(gathering, target):
        gathering.found[gathering.count] = target
        gathering.count += 1
    return 0

cdef class Table:
    # The bindings of one exchange, in the shape its type matches by. Borrows the targets.
    cdef bint by_key                # the routing key decides
    cdef bint by_message            # the message's properties or chance decide
    cdef bint by_first_key          # of several routing keys (CC, BCC) the publisher's own decides alone
    cdef bint is_over               # its exchange is deleted: nothing is asked of it any more but to free itself
    cdef int add(self, PyObject *target, bytes key, bytes match) except -1
    # Only for what was added.
    cdef int remove(self, PyObject *target, bytes key, bytes match) except -1
    # Every binding to a target at once. False when they have to be removed one by one.
    cdef bint remove_all(self, PyObject *target) except? True
    # Some of what a table consists of that is over; is there more? Whatever is left goes with the table.
    cdef bint free_some(self, Py_ssize_t count) noexcept
    cdef int match(self, Gathering *gathering, const uint8_t *key, Py_ssize_t key_bytes) except -1
