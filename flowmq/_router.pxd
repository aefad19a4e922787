# Exchanges: where a message goes. Bindings, matching by type, exchange-to-exchange bindings, alternate exchanges.
#
# A route is asked per message, so its answer is an immutable RouteSet that may be kept as long as the exchange's
# `generation` stands still: every change of bindings here or in any exchange a message can go on to from here moves it.
# Permissions, durability and who may declare what belong to the broker.

from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from flowmq._matching cimport Gathering, Table
from flowmq._message cimport Message
from flowmq._queue cimport Queue
from flowmq._rules cimport Deduplication

cdef struct CachedRoute

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

# No queue.
cdef RouteSet NOWHERE

cdef class Exchange:
    cdef readonly bytes name
    cdef readonly str type              # a name in TABLES: "direct", "x-consistent-hash", ...
    cdef readonly bint internal         # not for publishers
    cdef readonly bint deleted
    cdef readonly uint64_t generation
    cdef readonly bint by_message       # somewhere on the way properties or chance decide: no answer may be kept

    cdef bint by_key                # somewhere on the way the routing key decides
    cdef Table table
    cdef RouteCache cache
    cdef dict bindings_             # target -> (key, match), or a dict of several; owns the targets
    cdef Py_ssize_t bindings_count
    cdef readonly Deduplication deduplication    # of what is published here; None: every message counts
    cdef Exchange alternate_
    cdef Queue hold_                # where messages with a delay wait; None: they are not delayed
    cdef readonly Queue history     # gets every message besides; None: nothing is kept
    cdef dict downstream            # exchange a message may go on to -> by how many links: bindings, and as alternate
    cdef dict upstream              # the same links seen from their other end

    # Where a message goes by this routing key and its properties; NULL is a message without any. Never empty-handed: no
    # target is a RouteSet with count 0. Calls no Python function.
    cdef RouteSet route(self, const uint8_t *key, Py_ssize_t key_bytes, Message *message)
    # The union over several routing keys (the publisher's own, then CC and BCC), given as bytes: an alternate exchange
    # is for when none matches.
    cdef RouteSet route_keys(self, list keys, Message *message)

    # What was published here, by clients: since it was declared, or the process began.
    cdef readonly uint64_t published_count
    cdef readonly uint64_t published_bytes      # bodies
    cdef readonly uint64_t routed_count         # to how many queues it went
    cdef readonly uint64_t confirmable_count    # on channels in confirm mode
    cdef readonly uint64_t confirmed_count      # of those, what will not be refused
    cdef readonly uint64_t returned_count       # reached no queue, and was to
    cdef readonly uint64_t dropped_count        # reached no queue

    cdef int match(self, Gathering *gathering, const uint8_t *key, Py_ssize_t key_bytes, list keys) except -1
    cdef int match_keys(self, Gathering *gathering, list keys) except -1
    cdef int link(self, Exchange other) except -1
    cdef int unlink(self, Exchange other, Py_ssize_t links) except -1
    cdef int remove_binding(self, object target, tuple binding) except -1
    # Bindings here or a link from here changed: every answer given so far, here and upstream, is out of date.
    cdef int change(self, bint links) except -1

cdef class DefaultExchange(Exchange):
    # Every queue under its own name. Python: add(queue), remove(queue).
    pass
