# See _dead_letters.pxd for what this module is and is not.

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport free, realloc
from libc.string cimport memmove

from flowmq._frame cimport FLOWMQ_CONTRACT, load_long, load_long_long
from flowmq._message cimport message_release
from flowmq._order cimport OVER_DELIVERY_LIMIT, REJECTED, queue_now
from flowmq._rewrite cimport (
    HeaderFields, delay_of, exchange_of, expiration_of, header_fields, routing_key_of, with_other_headers,
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
    GRAVES_IN_TURN = 256

cdef Py_ssize_t EVERY_ONE = 2 ** 62
cdef Py_ssize_t turn_left = GRAVES_IN_TURN

cdef tuple REASONS = (b"rejected", b"expired", b"maxlen", b"delivery_limit", b"released")
cdef frozenset COUNTS = frozenset((b"x-delivery-count", b"x-acquired-count"))
cdef frozenset LAST = frozenset((b"x-death", b"x-last-death-queue", b"x-last-death-reason", b"x-last-death-exchange"))
cdef frozenset FIRST = frozenset((b"x-first-death-queue", b"x-first-death-reason", b"x-first-death-exchange"))
cdef bytes DELAY = b"x-delay"
cdef frozenset WAITING = frozenset((DELAY, b"BCC"))
cdef frozenset SELECTED = frozenset((b"CC",))


cdef bint anyone_died() noexcept nogil:
    return graves_count > 0


def set_burial_scheduler(schedule):
    """`schedule()` has bury_next() called soon, until that says that there are no more. None: nothing is put off."""
    global schedule_burials, put_off
    schedule_burials = schedule
    put_off = False


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
    global put_off, turn_left
    cdef Py_ssize_t dealt_with
    if burying or graves_count == 0:
        return 0
    if schedule_burials is None:
        return bury_all()
    dealt_with = bury_up_to(at_least if put_off else max(turn_left, at_least))
    turn_left = max(<Py_ssize_t>0, turn_left - dealt_with)
    if graves_count and not put_off:
        put_off = True
        schedule_burials()
    return 0


cdef void end_burials_of_turn() noexcept nogil:
    global turn_left
    turn_left = GRAVES_IN_TURN


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
        cdef list deaths = []
        cdef Message *dead = died(self, grave, deaths)
        cdef list targets
        try:
            targets = self.targets_of(grave, dead, deaths)
            return self.bury_as(grave, dead, targets)
        finally:
            message_release(dead)

    cdef list targets_of(self, Grave *grave, Message *message, list deaths):
        cdef Exchange exchange
        cdef RouteSet routes
        cdef list keys
        if self.exchange is None:
            return [self.park()]
        exchange = self.exchanges.get(self.exchange)
        if exchange is None:
            return []
        keys = all_keys(message)
        if len(keys) > 1:
            routes = exchange.route_keys(keys, message)
        else:
            key = keys[0]
            routes = exchange.route(<const uint8_t *>PyBytes_AS_STRING(key), len(key), message)
        targets = living(routes)
        if grave.reason != REJECTED:
            targets = [queue for queue in targets if not goes_round((<Queue>queue).name, deaths)]
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


cdef list all_keys(Message *message):
    """Its routing key, and those that its headers add; BCC is there only while it waits for its time."""
    cdef list keys = [routing_key_of(message)]
    cdef HeaderFields fields
    if message.headers_bytes:
        fields = header_fields(message)
        keys.extend(texts_of(fields.value(b"CC")))
        keys.extend(texts_of(fields.value(b"BCC")))
    return keys


# --------------------------------------------------------------------------------- what headers say of a death

cdef Message *died(DeadLetters letters, Grave *grave, list deaths) except NULL:
    """The message as it goes on; `deaths` gets (queue, reason, table) of all its deaths, the latest first."""
    cdef Message *message = grave.entry.message
    cdef bytes queue = (<Queue>grave.queue).name
    cdef bytes reason = REASONS[<int>grave.reason]
    cdef bytes exchange = exchange_of(message)
    cdef bytes key = routing_key_of(message)
    cdef HeaderFields fields = header_fields(message)
    cdef list earlier = deaths_in(fields.value(b"x-death")) if message.died else []
    cdef bytes newest = None
    cdef bytes headers
    cdef Message *dead
    cdef Py_ssize_t at
    for at, death in enumerate(earlier):
        if death[0] == queue and death[1] == reason:
            del earlier[at]
            newest = counted_again(death[2])
            break
    if newest is None:
        newest = death_of(message, queue, reason, exchange, [key, *texts_of(fields.value(b"CC"))])
    earlier.insert(0, (queue, reason, newest))
    deaths.extend(earlier)
    unwanted = COUNTS | LAST
    if not message.died:
        unwanted |= FIRST
    if letters.routing_key is not None:
        unwanted |= SELECTED
    headers = fields.without(unwanted) + field(b"x-death", b"A" + sized(b"".join([
        b"F" + sized(death[2]) for death in earlier
    ])))
    if not message.died:
        headers += companions(b"x-first-death-", queue, reason, exchange)
    headers += companions(b"x-last-death-", queue, reason, exchange)
    if letters.exchange is None:
        names = short(b"") + short((<Queue>grave.queue).name)
    else:
        names = short(letters.exchange) + short(key if letters.routing_key is None else letters.routing_key)
    dead = with_other_headers(message, names, headers, False)
    dead.died = True
    return dead


cdef bytes death_of(Message *message, bytes queue, bytes reason, bytes exchange, list keys):
    cdef bytes expiration = expiration_of(message)
    cdef bytes death = b"".join((
        field(b"count", b"l" + (1).to_bytes(8, "big")),
        field(b"reason", b"S" + sized(reason)),
        field(b"queue", b"S" + sized(queue)),
        field(b"time", b"T" + int(queue_now() // 1000).to_bytes(8, "big")),
        field(b"exchange", b"S" + sized(exchange)),
        field(b"routing-keys", b"A" + sized(b"".join([b"S" + sized(key) for key in keys]))),
    ))
    if expiration is not None:
        death += field(b"original-expiration", b"S" + sized(expiration))
    return death


cdef bytes counted_again(bytes death):
    """The same table with a count one higher."""
    cdef HeaderFields fields = HeaderFields(death)
    cdef bytes count = fields.value(b"count")
    cdef uint64_t number = 0
    if count is not None and count[:1] == b"l" and PyBytes_GET_SIZE(count) == 9:
        number = load_long_long(<const uint8_t *>PyBytes_AS_STRING(count) + 1)
    return field(b"count", b"l" + int(number + 1).to_bytes(8, "big")) + fields.without((b"count",))


cdef list deaths_in(bytes value):
    """(queue, reason, table without its length) of each table in an array."""
    cdef list deaths = []
    cdef Py_ssize_t at = 5
    cdef uint32_t table_bytes
    cdef HeaderFields fields
    if value is None or value[:1] != b"A":
        return deaths
    while at + 5 <= PyBytes_GET_SIZE(value) and value[at:at + 1] == b"F":
        table_bytes = load_long(<const uint8_t *>PyBytes_AS_STRING(value) + at + 1)
        table = value[at + 5:at + 5 + table_bytes]
        fields = HeaderFields(table)
        deaths.append((text_of(fields.value(b"queue")), text_of(fields.value(b"reason")), table))
        at += 5 + table_bytes
    return deaths


cdef bytes text_of(bytes value):
    """A string value without its type and length; None when it is something else."""
    return value[5:] if value is not None and value[:1] == b"S" else None


cdef list texts_of(bytes value):
    """The strings of an array; none when it is something else."""
    cdef list texts = []
    cdef Py_ssize_t at = 5
    cdef uint32_t text_bytes
    if value is None or value[:1] != b"A":
        return texts
    while at + 5 <= PyBytes_GET_SIZE(value) and value[at:at + 1] == b"S":
        text_bytes = load_long(<const uint8_t *>PyBytes_AS_STRING(value) + at + 1)
        texts.append(value[at + 5:at + 5 + text_bytes])
        at += 5 + text_bytes
    return texts


cdef bint goes_round(bytes target, list deaths):
    """Has it died in that queue before, and was not rejected anywhere since or there?"""
    for queue, reason, _ in deaths:
        if reason == b"rejected":
            return False
        if queue == target:
            return True
    return False


cdef bytes companions(bytes prefix, bytes queue, bytes reason, bytes exchange):
    return b"".join((
        field(prefix + b"queue", b"S" + sized(queue)),
        field(prefix + b"reason", b"S" + sized(reason)),
        field(prefix + b"exchange", b"S" + sized(exchange)),
    ))


cdef inline bytes field(bytes name, bytes value):
    return short(name) + value


cdef inline bytes short(bytes text):
    return bytes((PyBytes_GET_SIZE(text),)) + text


cdef inline bytes sized(bytes octets):
    return PyBytes_GET_SIZE(octets).to_bytes(4, "big") + octets


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
        cdef uint64_t expires_at_ms = 0
        cdef list targets
        try:
            expiration = expiration_of(message)
            if expiration is not None:
                expires_at_ms = queue_now() + int(expiration)
            targets = living(self.exchange.route_keys(all_keys(grave.entry.message), message))
            begin_leaving(grave, message, targets)
            for target in targets:
                target.publish(message, expires_at_ms, &commit)
            finish_leaving(grave)
        finally:
            message_release(message)
        if not targets and self.lost is not None:
            self.lost((<Queue>grave.queue).name, b"released")
        return 0


cdef Message *released(Message *message) except NULL:
    """The same message with its delay negative, as a sign that it was delayed: it is not delayed again."""
    cdef bytes headers = header_fields(message).without(WAITING)
    headers += field(DELAY, b"l" + int(-delay_of(message)).to_bytes(8, "big", signed=True))
    return with_other_headers(message, None, headers, True)
