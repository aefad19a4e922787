# See _dead_letters.pxd for what this module is and is not.

from cpython.bytes cimport PyBytes_GET_SIZE
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memmove

from flowmq._deaths cimport after_death, goes_round, selected_keys
from flowmq._frame cimport FLOWMQ_CONTRACT, Cursor
from flowmq._message cimport Properties, message_header, message_names, message_release, scan_properties
from flowmq._order cimport OVER_DELIVERY_LIMIT, REJECTED, queue_now
from flowmq._rewrite cimport (
    Field, HeaderWriter, begin_copy, begin_fields, delay_of, end_copy, is_named, next_field, put_field, put_name,
    put_number,
)

from flowmq._frame import check_contract

check_contract(FLOWMQ_CONTRACT)

cdef Grave *graves = NULL
cdef Py_ssize_t graves_head = 0
cdef Py_ssize_t graves_count = 0        # from the beginning of the array, those dealt with included
cdef Py_ssize_t graves_capacity = 0
cdef bint burying = False
cdef object schedule_burials = None
cdef bint put_off = False               # schedule_burials() was called, and there is still something to do

cdef enum:
    GRAVES_KEPT = 1024

cdef Py_ssize_t EVERY_ONE = 2 ** 62
cdef Py_ssize_t graves_in_turn = 256
cdef Py_ssize_t turn_left = graves_in_turn

cdef tuple REASONS = (b"rejected", b"expired", b"maxlen", b"delivery_limit", b"released")


cdef bint anyone_died() noexcept nogil:
    return graves_count > 0


def set_burial_scheduler(schedule):
    """`schedule()` has bury_next() called soon, until that says that there are no more. None: nothing is put off."""
    global schedule_burials, put_off
    schedule_burials = schedule
    put_off = False


def set_burials_in_turn(Py_ssize_t count) -> int:
    """How many deaths a turn deals with; returns what it was. For tests, which are short of deaths."""
    global graves_in_turn
    before = graves_in_turn
    graves_in_turn = count
    return before


def bury_next(Py_ssize_t limit) -> bool:
    """Deal with so many of the deaths that were put off; are there more?"""
    global put_off
    bury_up_to(limit)
    put_off = graves_count > 0
    return put_off


def is_anyone_unburied() -> bool:
    """Are there deaths that were put off?"""
    return put_off


cdef int bury_some(Py_ssize_t at_least) except -1:
    global turn_left
    cdef Py_ssize_t dealt_with
    if burying or graves_count == 0:
        return 0
    if schedule_burials is None:
        return bury_all()
    dealt_with = bury_up_to(at_least if put_off else max(turn_left, at_least))
    turn_left = max(<Py_ssize_t>0, turn_left - dealt_with)
    put_off_rest()
    return 0


cdef int put_off_rest() except -1:
    global put_off
    if graves_head < graves_count and not put_off and schedule_burials is not None:
        put_off = True
        schedule_burials()
    return 0


cdef void end_burials_of_turn() noexcept nogil:
    global turn_left
    turn_left = graves_in_turn


cdef int bury_all() except -1:
    """Every death up to here is dealt with, and every one that this leads to, in order."""
    bury_up_to(EVERY_ONE)
    return 0


cdef Py_ssize_t bury_up_to(Py_ssize_t limit) except -1:
    global graves_head, graves_count, graves_capacity, graves, burying
    cdef Py_ssize_t dealt_with = 0
    cdef Grave grave
    if burying or graves_count == 0:
        return 0
    burying = True
    try:
        while graves_head < graves_count and dealt_with < limit:
            grave = graves[graves_head]
            graves_head += 1
            dealt_with += 1
            bury(&grave)
    except Exception:
        # It was about one of them: the others' turn comes all the same.
        put_off_rest()
        raise
    finally:
        burying = False
        if graves_head == graves_count:
            graves_head = graves_count = 0
            if graves_capacity > GRAVES_KEPT:
                free(graves)
                graves = NULL
                graves_capacity = 0
    return dealt_with


cdef int bury(Grave *grave) except -1:
    cdef Undertaker undertaker = <Undertaker>grave.undertaker
    try:
        if isinstance(undertaker, DeadLetters):
            (<DeadLetters>undertaker).bury_one(grave)
        else:
            (<Release>undertaker).release(grave)
    finally:
        Py_DECREF(<object>grave.undertaker)
        Py_DECREF(<object>grave.queue)
        Py_DECREF(<object>grave.lane)
    return 0


cdef int dig(Undertaker undertaker, Order queue, Order lane, Entry *entry, Reason reason) except -1:
    global graves, graves_head, graves_count, graves_capacity
    cdef Py_ssize_t wanted
    cdef void *moved
    cdef Grave *grave
    if graves_count == graves_capacity and graves_head * 2 > graves_count:
        graves_count -= graves_head
        memmove(graves, graves + graves_head, graves_count * sizeof(Grave))
        graves_head = 0
    elif graves_count == graves_capacity:
        wanted = max(<Py_ssize_t>64, graves_capacity * 2)
        moved = realloc(graves, wanted * sizeof(Grave))
        if moved == NULL:
            raise MemoryError("dead letters")
        graves = <Grave *>moved
        graves_capacity = wanted
    grave = &graves[graves_count]
    graves_count += 1
    Py_INCREF(undertaker)
    Py_INCREF(queue)
    Py_INCREF(lane)
    grave.undertaker = <PyObject *>undertaker
    grave.queue = <PyObject *>queue
    grave.lane = <PyObject *>lane
    grave.entry = entry[0]
    grave.reason = reason
    return 0


cdef list living(RouteSet routes):
    cdef Py_ssize_t at
    return [
        <object>routes.targets[at] for at in range(routes.count) if not (<Queue>routes.targets[at]).deleted
    ]


# ----------------------------------------------------------------------------------------------- dead letters

cdef class DeadLetters(Undertaker):
    """Where a queue's messages go that die in it. `exchange` None: only those over the delivery limit are kept."""

    def __init__(self, dict exchanges not None, bytes exchange, bytes routing_key=None, *, park=None, lost=None):
        self.exchanges = exchanges
        self.exchange = exchange
        self.routing_key = routing_key
        self.names = None if exchange is None or routing_key is None else short(exchange) + short(routing_key)
        self.park = park
        self.lost = lost

    cdef int take(self, Order queue, Order lane, Entry *entry, Reason reason) except -1:
        if self.exchange is None and (reason != OVER_DELIVERY_LIMIT or self.park is None):
            if entry.sequence:
                return lane.forget(entry)
            message_release(entry.message)
            return 0
        return dig(self, queue, lane, entry, reason)

    cdef int finish(self) except -1:
        return bury_some(0)

    cdef int bury_one(self, Grave *grave) except -1:
        cdef Queue queue = <Queue>grave.queue
        cdef Message *message = grave.entry.message
        cdef bytes names = short(b"") + short(queue.name) if self.exchange is None else self.names_of(message)
        cdef Message *dead = after_death(message, queue.name, REASONS[<int>grave.reason], names,
                                         self.routing_key is None)
        try:
            return self.bury_as(grave, dead, self.targets_of(grave, dead))
        finally:
            message_release(dead)

    cdef bytes names_of(self, Message *message):
        cdef const char *names = message_names(message)
        cdef uint32_t key_at = 1 + <uint8_t>names[0]
        if self.names is not None:
            return self.names
        return short(self.exchange) + names[key_at:message.names_bytes]

    cdef list targets_of(self, Grave *grave, Message *message):
        cdef Exchange exchange
        if self.exchange is None:
            return [self.park()]
        exchange = self.exchanges.get(self.exchange)
        if exchange is None:
            return []
        targets = living(routes_of(exchange, message, message))
        if grave.reason != REJECTED:
            targets = [queue for queue in targets if not goes_round(message, (<Queue>queue).name)]
        return targets

    cdef int bury_as(self, Grave *grave, Message *message, list targets) except -1:
        cdef Queue target
        cdef bint kept = False
        cdef uint64_t commit
        begin_leaving(grave, message, targets)
        for target in targets:
            commit = 0
            before = target.refused_count
            target.publish(message, 0, &commit)
            kept |= target.refused_count == before
        finish_leaving(grave)
        if kept:
            self.moved_count += 1
        else:
            self.lost_count += 1
            if self.lost is not None:
                self.lost((<Queue>grave.queue).name, REASONS[<int>grave.reason])
        return 0


cdef int begin_leaving(Grave *grave, Message *message, list targets) except -1:
    cdef Order lane = <Order>grave.lane
    if lane.log is not None and grave.entry.sequence and not (<Queue>grave.queue).deleted:
        lane.log.begin_move(message, len(targets))
    return 0


cdef int finish_leaving(Grave *grave) except -1:
    """Its old queue is done with it."""
    cdef Order lane = <Order>grave.lane
    if grave.entry.sequence == 0 or (<Queue>grave.queue).deleted:
        message_release(grave.entry.message)
        return 0
    lane.forget(&grave.entry)
    if lane.log is not None:
        lane.log.end_move()
    return 0


cdef RouteSet routes_of(Exchange exchange, Message *selecting, Message *message):
    """By the routing key of `selecting`, and those that its headers add."""
    cdef const char *names = message_names(selecting)
    cdef uint32_t key_at = 2 + <uint8_t>names[0]
    cdef list keys = selected_keys(selecting) if selecting.headers_bytes else None
    if keys is not None:
        return exchange.route_keys(keys, message)
    return exchange.route(<const uint8_t *>names + key_at, selecting.names_bytes - key_at, message)


cdef inline bytes short(bytes text):
    return bytes((PyBytes_GET_SIZE(text),)) + text


# ------------------------------------------------------------------------------------------------- its time has come

cdef class Release(Undertaker):
    """For messages that were only waiting: they go on by way of an exchange as if they were published now."""

    def __init__(self, Exchange exchange not None, *, lost=None):
        self.exchange = exchange
        self.lost = lost

    cdef int take(self, Order queue, Order lane, Entry *entry, Reason reason) except -1:
        return dig(self, queue, lane, entry, reason)

    cdef int finish(self) except -1:
        return bury_some(0)

    cdef int release(self, Grave *grave) except -1:
        cdef Message *message = released(grave.entry.message)
        cdef Queue target
        cdef uint64_t commit = 0
        cdef list targets
        try:
            expires_at_ms = expiry_of(message)
            targets = living(routes_of(self.exchange, grave.entry.message, message))
            begin_leaving(grave, message, targets)
            for target in targets:
                target.publish(message, expires_at_ms, &commit)
            finish_leaving(grave)
        finally:
            message_release(message)
        if not targets and self.lost is not None:
            self.lost((<Queue>grave.queue).name, b"released")
        return 0


cdef uint64_t expiry_of(Message *message) except? 0:
    """When it expires if it is published now; 0 for never."""
    cdef Properties properties
    cdef const char *payload = message_header(message)
    scan_properties(<const uint8_t *>payload, message.header_bytes, &properties)
    if properties.expiration_at == 0:
        return 0
    return queue_now() + int(payload[properties.expiration_at:properties.expiration_at + properties.expiration_bytes])


cdef Message *released(Message *message) except NULL:
    """The same message with its delay negative, as a sign that it was delayed: it is not delayed again."""
    cdef HeaderWriter *writer = begin_copy(message)
    cdef Cursor cursor
    cdef Field field
    begin_fields(message, &cursor)
    while next_field(&cursor, &field):
        if not is_named(&field, b"x-delay"):
            put_field(writer, &field)
    put_name(writer, b"x-delay")
    put_number(writer, c"l", <uint64_t>-delay_of(message))
    return end_copy(writer, message, NULL, 0, True)
