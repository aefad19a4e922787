# Exchanges: where a message goes. Bindings, matching by type, exchange-to-exchange bindings, alternate exchanges.
#
# A route is asked per message, so its answer is an immutable RouteSet that may be kept as long as the exchange's
# `generation` stands still: every change of bindings here or in any exchange a message can go on to from here moves it.
# Permissions, durability and who may declare what belong to the broker.

from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef struct Seen                    # a place in the set of what a route has met
cdef struct CachedRoute

cdef struct Gathering:
    # What a route has found so far, each target once: queues, and exchanges to go on to.
    PyObject **found
    Py_ssize_t count
    Py_ssize_t capacity
    Seen *seen                      # open addressing, at most half full
    uint64_t seen_mask
    uint64_t route                  # its number
    uint64_t matches                # with repetitions
    const uint8_t *headers
    uint32_t headers_bytes
    bint headers_read               # they are decoded

cdef struct RouteCache:
    # The latest answers by routing key: bounded, and forgotten whenever the generation moves.
    CachedRoute *places
    uint64_t sets                   # of a few places each, a power of two; 0 while nothing was kept
    uint64_t targets_count          # of all answers kept
    uint32_t turn                   # which place of a full set is given up next

cdef class RouteSet:
    # The queues a message goes to, each once. May outlive a change of topology: then Queue.deleted tells.
    cdef PyObject **targets             # Queue, owned
    cdef readonly Py_ssize_t count

cdef class Table:
    # The bindings of one exchange, in the shape its type matches by. Borrows the targets.
    cdef bint by_key                # the routing key decides
    cdef bint by_headers            # the headers property decides
    cdef int add(self, PyObject *target, bytes key, bytes match) except -1
    # Only for what was added.
    cdef int remove(self, PyObject *target, bytes key, bytes match) except -1
    cdef int match(self, Gathering *gathering, const uint8_t *key, Py_ssize_t key_bytes) except -1

cdef class Exchange:
    cdef readonly bytes name
    cdef readonly str type              # "direct", "fanout", "topic" or "headers"
    cdef readonly bint internal         # not for publishers
    cdef readonly bint deleted
    cdef readonly uint64_t generation
    cdef readonly bint by_headers       # somewhere on the way the headers property decides: no answer may be kept

    cdef bint by_key                # somewhere on the way the routing key decides
    cdef Table table
    cdef RouteCache cache
    cdef dict bindings_             # target -> {(key, match): None}; owns the targets
    cdef Py_ssize_t bindings_count
    cdef Exchange alternate_
    cdef dict downstream            # exchange a message may go on to -> by how many links: bindings, and as alternate
    cdef dict upstream              # the same links seen from their other end

    # Where a message with this routing key goes. `headers` is the field table of its headers property without the
    # length, NULL when it has none. Never empty-handed: no target is a RouteSet with count 0. Calls no Python function.
    cdef RouteSet route(self, const uint8_t *key, Py_ssize_t key_bytes, const uint8_t *headers, uint32_t headers_bytes)
    # The union over several routing keys (CC and BCC), given as bytes: an alternate exchange is for when none matches.
    cdef RouteSet route_keys(self, list keys, const uint8_t *headers, uint32_t headers_bytes)

    cdef int match_keys(self, Gathering *gathering, list keys) except -1
    cdef int link(self, Exchange other) except -1
    cdef int unlink(self, Exchange other) except -1
    cdef int remove_binding(self, object target, tuple binding) except -1
    # Bindings here or a link from here changed: every answer given so far, here and upstream, is out of date.
    cdef int change(self, bint links) except -1
    cdef int judge_way(self) except -1

cdef class DefaultExchange(Exchange):
    # Every queue under its own name. Python: add(queue), remove(queue).
    pass
