# See _router.pxd for what this module is and is not.
#
# Matching works on C structures only and borrows the targets, which every exchange's dict of bindings owns. From the
# first match to the finished RouteSet no Python code can run, not even by way of the garbage collector (it does not
# track a RouteSet), so one scratch area serves every route in turn.

from cpython.bytes cimport PyBytes_GET_SIZE
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy, memset

from flowmq._frame cimport FLOWMQ_CONTRACT
from flowmq._matching cimport (
    begin_leaving, end_leaving, gather, hash_octets, note, octets_of, resized, widen
)
from flowmq._message cimport Properties, message_new, message_release, scan_properties
from flowmq._rewrite cimport delay_of, is_not_to_be_kept

from flowmq._binding_keys import DirectTable, FanoutTable, TopicTable
from flowmq._frame import check_contract
from flowmq._hashing import ModulusHashTable, RandomTable, consistent_hash_table
from flowmq._headers import HeadersTable

check_contract(FLOWMQ_CONTRACT)

TABLES = {
    "direct": DirectTable,
    "fanout": FanoutTable,
    "topic": TopicTable,
    "headers": HeadersTable,
    "x-consistent-hash": consistent_hash_table,
    "x-modulus-hash": ModulusHashTable,
    "x-random": RandomTable,
    "x-local-random": RandomTable,
}


# ----------------------------------------------------------------------------------------------------- a route

cdef Gathering scratch
memset(&scratch, 0, sizeof(scratch))


cdef Gathering *begin_route(Exchange source, Message *message) except NULL:
    scratch.count = 0
    scratch.route += 1
    scratch.message = message
    scratch.headers_read = False
    gather(&scratch, <PyObject *>source)
    return &scratch


cdef RouteSet end_route(Gathering *gathering, Py_ssize_t queues_count):
    cdef RouteSet routes
    cdef Py_ssize_t position
    if queues_count == 0:
        return NOWHERE
    routes = RouteSet.__new__(RouteSet)
    routes.targets = <PyObject **>resized(NULL, queues_count * sizeof(PyObject *))
    for position in range(gathering.count):
        if isinstance(<object>gathering.found[position], Queue):
            Py_INCREF(<object>gathering.found[position])
            routes.targets[routes.count] = gathering.found[position]
            routes.count += 1
    return routes


cdef class RouteSet:

    def __dealloc__(self):
        cdef Py_ssize_t position
        for position in range(self.count):
            Py_DECREF(<object>self.targets[position])
        free(self.targets)


NOWHERE = RouteSet()

cdef enum:
    STEP_BINDINGS = 100         # that are let go of in one step


# ------------------------------------------------------------------------------------------------------- cache

cdef enum:
    PLACES_PER_SET = 4
    SETS_MAX = 8192                 # 32 768 keys per exchange, some 6 MB
    CACHED_KEY_BYTES_MAX = 255
    CACHED_TARGETS_MAX = 262144     # per exchange, over all its cached answers: 2 MB

cdef struct CachedRoute:
    uint8_t *key                # owned; never of an empty place
    Py_ssize_t key_bytes
    uint64_t hash
    PyObject *routes            # RouteSet, owned; NULL is an empty place


cdef inline CachedRoute *cache_set(RouteCache *cache, uint64_t hash) noexcept nogil:
    return cache.places + (hash & (cache.sets - 1)) * PLACES_PER_SET


cdef inline PyObject *cache_find(RouteCache *cache, const uint8_t *key, Py_ssize_t key_bytes,
                                 uint64_t hash) noexcept nogil:
    cdef CachedRoute *place
    if cache.sets == 0:
        return NULL
    place = cache_set(cache, hash)
    for _ in range(PLACES_PER_SET):
        if (place.hash == hash and place.routes != NULL and place.key_bytes == key_bytes
                and memcmp(place.key, key, key_bytes) == 0):
            return place.routes
        place += 1
    return NULL


cdef CachedRoute *cache_free_place(RouteCache *cache, uint64_t hash) noexcept nogil:
    cdef CachedRoute *place = cache_set(cache, hash)
    for _ in range(PLACES_PER_SET):
        if place.routes == NULL:
            return place
        place += 1
    return NULL


cdef int cache_double(RouteCache *cache) except -1:
    cdef RouteCache wider = cache[0]
    cdef uint64_t position
    wider.sets = cache.sets * 2 if cache.sets else 4
    wider.places = <CachedRoute *>calloc(wider.sets * PLACES_PER_SET, sizeof(CachedRoute))
    if wider.places == NULL:
        raise MemoryError
    # A set's places go to two sets of the wider cache, so that each finds a place.
    for position in range(cache.sets * PLACES_PER_SET):
        if cache.places[position].routes != NULL:
            cache_free_place(&wider, cache.places[position].hash)[0] = cache.places[position]
    free(cache.places)
    cache[0] = wider
    return 0


cdef int cache_put(RouteCache *cache, const uint8_t *key, Py_ssize_t key_bytes, uint64_t hash,
                   RouteSet routes) except -1:
    cdef CachedRoute *place
    cdef CachedRoute before
    if key_bytes > CACHED_KEY_BYTES_MAX or routes.count > CACHED_TARGETS_MAX:
        return 0
    if cache.targets_count + routes.count > CACHED_TARGETS_MAX:
        cache_clear(cache)
    if cache.sets == 0:
        cache_double(cache)
    place = cache_free_place(cache, hash)
    while place == NULL and cache.sets < SETS_MAX:
        cache_double(cache)
        place = cache_free_place(cache, hash)
    if place == NULL:
        place = cache_set(cache, hash) + cache.turn % PLACES_PER_SET
        cache.turn += 1
    before = place[0]
    place.routes = NULL
    place.key = <uint8_t *>resized(before.key, key_bytes + 1)
    memcpy(place.key, key, key_bytes)
    place.key_bytes = key_bytes
    place.hash = hash
    Py_INCREF(routes)
    place.routes = <PyObject *>routes
    cache.targets_count += routes.count
    if before.routes != NULL:
        cache.targets_count -= (<RouteSet>before.routes).count
        Py_DECREF(<object>before.routes)
    return 0


cdef int cache_clear(RouteCache *cache) noexcept:
    # Letting go of answers may free queues and run any code: the cache is empty before.
    cdef RouteCache before = cache[0]
    cdef uint64_t position
    memset(cache, 0, sizeof(RouteCache))
    for position in range(before.sets * PLACES_PER_SET):
        if before.places[position].routes != NULL:
            free(before.places[position].key)
            Py_DECREF(<object>before.places[position].routes)
    free(before.places)
    return 0


# --------------------------------------------------------------------------------------------------- exchanges

cdef int check_alive(Exchange source, bint target_deleted) except -1:
    if source.deleted or target_deleted:
        raise ValueError("a binding or an alternate from or to something deleted")
    return 0


cdef class Exchange:
    """An exchange's bindings and the way on from it. Bindings form reference cycles, which delete() breaks."""

    def __cinit__(self, bytes name not None=b"", str type="direct", *, bint internal=False, dict table_options=None):
        if type not in TABLES:
            raise ValueError(f"unknown exchange type {type!r}")
        self.bindings_ = {}
        self.downstream = {}
        self.upstream = {}
        self.name = name
        self.type = type
        self.internal = internal
        self.table = TABLES[type](**(table_options or {}))
        self.by_key = self.table.by_key
        self.by_message = self.table.by_message

    def __dealloc__(self):
        cache_clear(&self.cache)

    # ------------------------------------------------------------------------------- what the control plane asks

    @property
    def binding_count(self) -> int:
        return self.bindings_count

    @property
    def alternate(self):
        """Where a message goes that nothing here matches."""
        return self.alternate_

    @alternate.setter
    def alternate(self, Exchange other):
        if other is self.alternate_:
            return
        if other is not None:
            check_alive(self, other.deleted)
            self.link(other)
        if self.alternate_ is not None:
            self.unlink(self.alternate_, 1)
        self.alternate_ = other
        self.change(True)

    @property
    def hold(self):
        """Where messages with a header x-delay wait for their time; None where they do not."""
        return self.hold_

    @hold.setter
    def hold(self, Queue queue):
        self.hold_ = queue
        self.change(True)

    def keep_history(self, Queue queue not None):
        """From now on that queue gets a copy of every message."""
        queue.is_history = True
        self.history = queue
        self.change(True)

    def deduplicate(self, Deduplication deduplication):
        """From now on a message that it knows already goes nowhere; None: every one counts."""
        self.deduplication = deduplication
        self.change(False)

    def bind(self, target, bytes key not None, bytes match not None=b"") -> bool:
        """Add a binding; False when it was there."""
        cdef tuple binding = (key, match)
        if not isinstance(target, (Queue, Exchange)):
            raise TypeError(f"a binding leads to a queue or an exchange, not to {type(target).__name__}")
        check_alive(self, target.deleted)
        there = self.bindings_.get(target)
        if binding in all_of(there):
            return False
        self.table.add(<PyObject *>target, key, match)
        if there is None:
            self.bindings_[target] = binding
        elif isinstance(there, dict):
            there[binding] = None
        else:
            self.bindings_[target] = {there: None, binding: None}
        self.bindings_count += 1
        if isinstance(target, Exchange):
            self.link(target)
        self.change(isinstance(target, Exchange))
        return True

    def unbind(self, target, bytes key, bytes match=b"") -> bool:
        """Remove a binding; False when there was none."""
        there = self.bindings_.get(target)
        if (key, match) not in all_of(there):
            return False
        self.remove_binding(target, (key, match))
        if isinstance(there, dict) and len(there) > 1:
            del there[key, match]
        else:
            del self.bindings_[target]
        self.change(isinstance(target, Exchange))
        return True

    def is_bound(self, target, bytes key not None, bytes match not None=b"") -> bool:
        """Is there this very binding?"""
        return (key, match) in all_of(self.bindings_.get(target))

    def unbind_target(self, target) -> int:
        """Remove every binding to a target; returns how many there were."""
        count = len(all_of(self.bindings_.get(target)))
        for _ in self.let_go(target):
            pass
        return count

    def let_go(self, target):
        """As unbind_target(), of a target that is not to be bound again: what is returned removes them step by step.

        They match nothing from now on, and are not counted. To give the steps up is to take them all.
        """
        there = self.bindings_.pop(target, None)
        if there is None:
            return iter(())
        bindings = there if isinstance(there, dict) else {there: None}
        self.bindings_count -= len(bindings)
        if isinstance(target, Exchange):
            self.unlink(target, len(bindings))
        steps = emptying(bindings, None if self.table.remove_all(<PyObject *>target) else self.table, target)
        # It begins here: nothing that is asked of the exchange afterwards may still find them.
        next(steps, None)
        self.change(isinstance(target, Exchange))
        return steps

    def bindings(self) -> list:
        return [(target, key, match) for target, there in self.bindings_.items() for key, match in all_of(there)]

    def targets(self) -> list:
        """What is bound here, each once."""
        return list(self.bindings_)

    def has_target(self, target) -> bool:
        return target in self.bindings_

    def sources(self) -> list:
        """Exchanges with a binding that leads here, or of which this is the alternate."""
        return list(self.upstream)

    def bindings_to(self, target) -> list:
        """(key, match) of every binding to it."""
        return list(all_of(self.bindings_.get(target)))

    def routes(self, bytes key not None, bytes headers=None, *, bytes properties=None, other_keys=()) -> list:
        """The queues that a message with this routing key, headers table and further keys (CC, BCC) goes to.

        Instead of the headers table alone: all properties, with their flags, as in a content header.
        """
        cdef Message *message = NULL
        cdef RouteSet found
        cdef Py_ssize_t position
        if headers is not None:
            properties = b"\x20\x00" + len(headers).to_bytes(4, "big") + headers
        if properties is not None:
            message = message_with(properties)
        try:
            if other_keys:
                found = self.route_keys([key, *map(bytes, other_keys)], message)
            else:
                found = self.route(octets_of(key), len(key), message)
        finally:
            if message != NULL:
                message_release(message)
        return [<object>found.targets[position] for position in range(found.count)]

    def delete(self):
        """Drop every binding from here, and every binding and alternate that leads here.

        What is returned lets go of the bindings from here step by step; whoever does not take the steps has them all
        taken at once.
        """
        cdef Exchange other
        cdef Exchange source
        self.deleted = True
        bindings, self.bindings_ = self.bindings_, {}
        table, self.table = self.table, TABLES[self.type]()
        (<Table>table).is_over = True
        self.bindings_count = 0
        self.alternate_ = None
        for other in self.downstream:
            del other.upstream[self]
        self.downstream = {}
        for source in list(self.upstream):
            source.unbind_target(self)
            if source.alternate_ is self:
                source.alternate = None
        self.change(True)
        return emptying_all(bindings, table)

    # ---------------------------------------------------------------------------------------------------- changes

    cdef int remove_binding(self, object target, tuple binding) except -1:
        key, match = binding
        self.table.remove(<PyObject *>target, key, match)
        self.bindings_count -= 1
        if isinstance(target, Exchange):
            self.unlink(target, 1)
        return 0

    cdef int link(self, Exchange other) except -1:
        self.downstream[other] = self.downstream.get(other, 0) + 1
        other.upstream[self] = self.downstream[other]
        return 0

    cdef int unlink(self, Exchange other, Py_ssize_t links) except -1:
        count = self.downstream[other] - links
        if count:
            self.downstream[other] = other.upstream[self] = count
        else:
            del self.downstream[other]
            del other.upstream[self]
        return 0

    cdef int change(self, bint links) except -1:
        cdef Exchange exchange
        cdef dict affected = {self: None}
        cdef list waiting = [self]
        while waiting:
            exchange = waiting.pop()
            for source in exchange.upstream:
                if source not in affected:
                    affected[source] = None
                    waiting.append(source)
        for exchange in affected:
            exchange.generation += 1
        if links:
            judge_ways(affected)
        for exchange in affected:
            cache_clear(&exchange.cache)
        return 0

    # ---------------------------------------------------------------------------------------------- per message

    cdef RouteSet route(self, const uint8_t *key, Py_ssize_t key_bytes, Message *message):
        cdef PyObject *cached
        cdef RouteSet routes
        cdef uint64_t hash
        if self.by_message:
            return find_way(self, key, key_bytes, None, message)
        if not self.by_key:
            key_bytes = 0
        hash = hash_octets(key, key_bytes)
        cached = cache_find(&self.cache, key, key_bytes, hash)
        if cached != NULL:
            return <RouteSet>cached
        routes = find_way(self, key, key_bytes, None, message)
        cache_put(&self.cache, key, key_bytes, hash, routes)
        return routes

    cdef RouteSet route_keys(self, list keys, Message *message):
        return find_way(self, NULL, 0, keys, message)

    cdef int match(self, Gathering *gathering, const uint8_t *key, Py_ssize_t key_bytes, list keys) except -1:
        if self.history is not None and not (gathering.message != NULL and is_not_to_be_kept(gathering.message)):
            if gathering.count == gathering.capacity:
                widen(gathering)
            if note(gathering, <PyObject *>self.history):
                gathering.found[gathering.count] = <PyObject *>self.history
                gathering.count += 1
        if self.hold_ is not None and gathering.message != NULL and delay_of(gathering.message) > 0:
            return gather(gathering, <PyObject *>self.hold_)
        if keys is None:
            return self.table.match(gathering, key, key_bytes)
        return self.match_keys(gathering, keys)

    cdef int match_keys(self, Gathering *gathering, list keys) except -1:
        for key in keys:
            self.table.match(gathering, octets_of(<bytes>key), PyBytes_GET_SIZE(<bytes>key))
            if self.table.by_first_key or not self.table.by_key:
                break
        return 0


cdef RouteSet find_way(Exchange source, const uint8_t *key, Py_ssize_t key_bytes, list keys, Message *message):
    # By one key, or by all of `keys`. Every exchange found on the way is asked once: a cycle ends by itself.
    cdef Gathering *gathering = begin_route(source, message)
    cdef Exchange exchange
    cdef Py_ssize_t exchanges_count = 0
    cdef Py_ssize_t position = 0
    cdef uint64_t matches
    while position < gathering.count:
        if not isinstance(<object>gathering.found[position], Queue):
            exchange = <Exchange>gathering.found[position]
            exchanges_count += 1
            matches = gathering.matches
            exchange.match(gathering, key, key_bytes, keys)
            if gathering.matches == matches and exchange.alternate_ is not None:
                gather(gathering, <PyObject *>exchange.alternate_)
        position += 1
    return end_route(gathering, gathering.count - exchanges_count)


cdef int judge_ways(dict affected) except -1:
    # What decides where a message goes, here and everywhere it can go on to from here: each exchange's own table says
    # something, and what it says holds for all upstream of it. Each link is looked at a few times at most, however long
    # the chains are.
    cdef Exchange exchange
    cdef Exchange source
    cdef Exchange other
    cdef bint by_key, by_message
    cdef list waiting = list(affected)
    for exchange in waiting:
        exchange.by_key = exchange.table.by_key
        exchange.by_message = exchange.table.by_message or exchange.hold_ is not None or exchange.history is not None
        for other in exchange.downstream:
            if other not in affected:
                exchange.by_key |= other.by_key
                exchange.by_message |= other.by_message
    while waiting:
        exchange = waiting.pop()
        for source in exchange.upstream:
            by_key = source.by_key or exchange.by_key
            by_message = source.by_message or exchange.by_message
            if by_key != source.by_key or by_message != source.by_message:
                source.by_key = by_key
                source.by_message = by_message
                waiting.append(source)
    return 0


cdef Message *message_with(bytes properties) except NULL:
    cdef bytes payload = b"\x00\x3c" + bytes(10) + properties
    cdef Properties found
    cdef Message *message
    if not scan_properties(octets_of(payload), <uint32_t>len(payload), &found):
        raise ValueError("malformed properties")
    message = message_new(b"\x00\x00", 2, octets_of(payload), <uint32_t>len(payload), 0, &found)
    if message == NULL:
        raise MemoryError
    return message


def emptying(dict bindings not None, Table table, target):
    """Lets go of the bindings to one target, and takes them out of the table, if they are still there.

    The first step takes what one step may take, or marks the target as leaving.
    """
    cdef bint is_marked = False
    try:
        if len(bindings) > STEP_BINDINGS:
            is_marked = table is not None and begin_leaving(<PyObject *>target)
            if is_marked or table is None:
                yield
        while bindings and (is_marked or table is None):
            remove_some(bindings, table, <PyObject *>target, STEP_BINDINGS)
            yield
    finally:
        remove_some(bindings, table, <PyObject *>target, len(bindings))
        if is_marked:
            end_leaving(<PyObject *>target)


cdef int remove_some(dict bindings, Table table, PyObject *target, Py_ssize_t count) except -1:
    for _ in range(min(count, len(bindings))):
        (key, match), _ = bindings.popitem()
        if table is not None and not table.is_over:
            table.remove(target, key, match)
    return 0


def emptying_all(dict bindings not None, Table table not None):
    """Lets go of a table that is not used any more, and of the bindings in it."""
    cdef Py_ssize_t count = 0
    while table.free_some(STEP_BINDINGS):
        yield
    while bindings:
        target, there = bindings.popitem()
        if isinstance(there, dict):
            yield from emptying(there, None, target)
        count += 1
        if count % STEP_BINDINGS == 0:
            yield


cdef object all_of(object there):
    """The bindings to one target, each as (key, match)."""
    if there is None:
        return ()
    return there if isinstance(there, dict) else (there,)


cdef class DefaultExchange(Exchange):
    """Every queue under its own name."""

    def __cinit__(self):
        pass

    def add(self, Queue queue not None):
        self.bind(queue, queue.name)

    def remove(self, Queue queue not None):
        self.unbind(queue, queue.name)
