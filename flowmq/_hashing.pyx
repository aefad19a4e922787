# Tables that choose one of an exchange's targets: by a consistent hash, by hash and modulus, by chance.
#
# What is chosen depends on what is bound, never on the order in which it was bound, and stays the same from process to
# process: hashes here are under fixed numbers, and targets stand in an order of their own (short names first, so that
# shard-9 stands before shard-10).
#
# A target is here once however many bindings lead to it; its weight is the sum of theirs. With x-consistent-hash a
# binding's weight is its key; with the other types every binding weighs 1.

from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memmove, memset

from flowmq._frame cimport FLOWMQ_CONTRACT, load_long_long
from flowmq._headers cimport STRING, Value, find_value
from flowmq._matching cimport Gathering, Table, gather, hash_fold, hash_under, octets_of, resized
from flowmq._message cimport Message, find_property, message_header
from flowmq._queue cimport Queue

from os import urandom

from flowmq._frame import check_contract

check_contract(FLOWMQ_CONTRACT)

# --------------------------------------------------------------------------------------------- hashes and chance

# Changing any of these sends every key elsewhere. The first two are digits of pi.
cdef uint64_t STABLE_SEED = 0x243F6A8885A308D3ULL
cdef uint64_t STABLE_SECRET = 0x13198A2E03707345ULL
cdef uint64_t STEP = 0x9E3779B97F4A7C15ULL

cdef uint64_t chance = load_long_long(octets_of(urandom(8)))


cdef inline uint64_t mixed(uint64_t bits) noexcept nogil:
    # Every bit of the result depends on every bit given (the end of splitmix64).
    bits = (bits ^ (bits >> 30)) * <uint64_t>0xBF58476D1CE4E5B9ULL
    bits = (bits ^ (bits >> 27)) * <uint64_t>0x94D049BB133111EBULL
    return bits ^ (bits >> 31)


cdef inline uint64_t stable_hash(const uint8_t *octets, size_t count) noexcept nogil:
    return mixed(hash_under(STABLE_SEED, STABLE_SECRET, octets, count))


cdef inline uint64_t draw() noexcept nogil:
    global chance
    chance += STEP
    return mixed(chance)


cdef uint64_t hash_value(const Value *value) noexcept nogil:
    # Equal values have equal hashes, whatever their width on the wire; text is hashed like a routing key.
    cdef uint64_t hash = stable_hash(value.octets, value.octets_count)
    if value.kind == STRING:
        return hash
    return mixed(hash + hash_fold(value.bits ^ STABLE_SECRET, STEP + <uint64_t>value.kind * 2 + value.negative))


# ------------------------------------------------------------------------------------------- a message's properties

cdef enum HashOn:
    # What is hashed: the routing key, a header, or the property with this flag.
    ROUTING_KEY = 0
    HEADER = 1
    CORRELATION_ID = 0x0400
    MESSAGE_ID = 0x0080
    TIMESTAMP = 0x0040

PROPERTIES = {"correlation_id": CORRELATION_ID, "message_id": MESSAGE_ID, "timestamp": TIMESTAMP}


# ---------------------------------------------------------------------------------------------------- the targets

cdef struct Member:
    PyObject *target            # borrowed
    uint64_t identity           # a stable hash of its kind and name
    uint64_t weight             # of all bindings to it
    uint64_t end                # sum of the weights up to and with this one


cdef tuple order_of(PyObject *target):
    name = (<object>target).name
    return len(name), name, isinstance(<object>target, Queue)


cdef class ChoosingTable(Table):
    """Targets with weights, in order, one of which every message goes to."""

    cdef Member *members
    cdef Py_ssize_t members_count
    cdef Py_ssize_t members_capacity
    cdef uint64_t total_weight

    def __dealloc__(self):
        free(self.members)

    cdef PyObject *choose(self, Gathering *gathering, const uint8_t *key, Py_ssize_t key_bytes) except NULL:
        raise NotImplementedError("ChoosingTable.choose")

    cdef uint64_t weight_of(self, bytes key) except 0:
        return 1

    cdef int match(self, Gathering *gathering, const uint8_t *key, Py_ssize_t key_bytes) except -1:
        if self.members_count:
            gather(gathering, self.choose(gathering, key, key_bytes))
        return 0

    cdef int add(self, PyObject *target, bytes key, bytes match) except -1:
        cdef uint64_t weight = self.weight_of(key)
        cdef Py_ssize_t at = self.place_of(target)
        if at == self.members_count or self.members[at].target != target:
            self.insert(at, target)
        try:
            self.weigh(at, self.members[at].weight + weight)
        finally:
            if self.members[at].weight == 0:
                self.drop(at)
        return 0

    cdef int remove(self, PyObject *target, bytes key, bytes match) except -1:
        # Whatever happens, a target without bindings may not stay: nobody keeps it alive any more.
        cdef Py_ssize_t at = self.place_of(target)
        cdef uint64_t weight = self.members[at].weight - self.weight_of(key)
        try:
            self.weigh(at, weight)
        finally:
            if weight == 0:
                self.drop(at)
        return 0

    cdef bint remove_all(self, PyObject *target) except? True:
        cdef Py_ssize_t at = self.place_of(target)
        try:
            self.weigh(at, 0)
        finally:
            self.drop(at)
        return True

    cdef Py_ssize_t place_of(self, PyObject *target) except -1:
        # Where it is, or belongs.
        cdef tuple order = order_of(target)
        cdef Py_ssize_t low = 0
        cdef Py_ssize_t high = self.members_count
        cdef Py_ssize_t middle
        while low < high:
            middle = (low + high) // 2
            if order_of(self.members[middle].target) < order:
                low = middle + 1
            else:
                high = middle
        while low < self.members_count and self.members[low].target != target:
            if order_of(self.members[low].target) != order:
                break
            low += 1
        return low

    cdef int insert(self, Py_ssize_t at, PyObject *target) except -1:
        cdef Py_ssize_t capacity
        cdef Member *member
        cdef bytes identity = (b"queue " if isinstance(<object>target, Queue) else b"exchange ") + (<object>target).name
        if self.members_count == self.members_capacity:
            capacity = max(self.members_capacity * 2, <Py_ssize_t>4)
            self.members = <Member *>resized(self.members, capacity * sizeof(Member))
            self.members_capacity = capacity
        member = self.members + at
        memmove(member + 1, member, (self.members_count - at) * sizeof(Member))
        self.members_count += 1
        member.target = target
        member.identity = stable_hash(octets_of(identity), len(identity))
        member.weight = 0
        return 0

    cdef int drop(self, Py_ssize_t at) noexcept:
        self.members_count -= 1
        memmove(self.members + at, self.members + at + 1, (self.members_count - at) * sizeof(Member))
        self.add_up()
        return 0

    cdef int weigh(self, Py_ssize_t at, uint64_t weight) except -1:
        self.members[at].weight = weight
        self.add_up()
        return 0

    cdef int add_up(self) noexcept:
        cdef Py_ssize_t position
        self.total_weight = 0
        for position in range(self.members_count):
            self.total_weight += self.members[position].weight
            self.members[position].end = self.total_weight
        return 0

    cdef PyObject *member_at(self, uint64_t weight) noexcept nogil:
        # Whose range it is, when the weights are laid end to end.
        cdef Py_ssize_t low = 0
        cdef Py_ssize_t high = self.members_count - 1
        cdef Py_ssize_t middle
        while low < high:
            middle = (low + high) // 2
            if self.members[middle].end <= weight:
                low = middle + 1
            else:
                high = middle
        return self.members[low].target


cdef class RandomTable(ChoosingTable):
    """Any of the bindings, each as likely."""

    def __cinit__(self):
        self.by_message = True

    cdef PyObject *choose(self, Gathering *gathering, const uint8_t *key, Py_ssize_t key_bytes) except NULL:
        return self.member_at(draw() % self.total_weight)


# ------------------------------------------------------------------------------------------------------ by a hash

cdef class HashTable(ChoosingTable):
    """What is hashed: the routing key, or what the options name."""

    cdef HashOn hash_on
    cdef bytes header

    def __cinit__(self, str hash_header=None, str hash_property=None):
        if hash_header is not None:
            self.hash_on = HEADER
            self.header = hash_header.encode("utf-8", "surrogateescape")
        elif hash_property is not None:
            self.hash_on = PROPERTIES[hash_property]
        self.by_key = self.by_first_key = self.hash_on == ROUTING_KEY
        self.by_message = not self.by_key

    cdef uint64_t hash(self, Gathering *gathering, const uint8_t *key, Py_ssize_t key_bytes) noexcept:
        if self.hash_on == ROUTING_KEY:
            return stable_hash(key, key_bytes)
        if gathering.message == NULL:
            return stable_hash(NULL, 0)
        return self.hash_header(gathering.message) if self.hash_on == HEADER else self.hash_property(gathering.message)

    cdef uint64_t hash_header(self, Message *message) noexcept:
        # Messages without it all go one way.
        cdef const uint8_t *table = <const uint8_t *>message_header(message) + message.headers_at
        cdef Value value
        if not find_value(table, message.headers_bytes, octets_of(self.header), len(self.header), &value):
            return stable_hash(NULL, 0)
        return hash_value(&value)

    cdef uint64_t hash_property(self, Message *message) noexcept:
        cdef const uint8_t *octets
        cdef uint8_t count
        if not find_property(message, self.hash_on, &octets, &count):
            return stable_hash(NULL, 0)
        return stable_hash(octets, count)


cdef class ModulusHashTable(HashTable):
    """The binding whose number is the hash modulo how many there are."""

    cdef PyObject *choose(self, Gathering *gathering, const uint8_t *key, Py_ssize_t key_bytes) except NULL:
        return self.member_at(self.hash(gathering, key, key_bytes) % self.total_weight)


cdef class ConsistentHashTable(HashTable):
    """The binding key is the weight."""

    cdef uint64_t weight_of(self, bytes key) except 0:
        cdef uint64_t weight = int(key)
        if weight == 0:
            raise ValueError("a weight of 0")
        return weight


cdef class JumpTable(ConsistentHashTable):
    """Lamping and Veach's jump consistent hash over the targets in order: little moves when its end changes."""

    cdef PyObject *choose(self, Gathering *gathering, const uint8_t *key, Py_ssize_t key_bytes) except NULL:
        return self.member_at(jump(self.hash(gathering, key, key_bytes), self.total_weight))


cdef uint64_t jump(uint64_t hash, uint64_t buckets_count) noexcept nogil:
    cdef uint64_t bucket = 0
    cdef double onward = 0
    while onward < buckets_count:
        bucket = <uint64_t>onward
        hash = hash * <uint64_t>2862933555777941757 + 1
        onward = (bucket + 1) * (2147483648.0 / <double>((hash >> 33) + 1))
    return bucket


# ------------------------------------------------------------------------------------------------------- the ring

cdef enum:
    FULL_WEIGHT = 1024          # the sum of weights up to which each unit of weight has all its points
    POINTS_MAX = 262144         # 256 each: a share of the ring then differs from its due by some six per cent

cdef struct Point:
    uint64_t position
    PyObject *target            # whom the ring belongs to from the point before up to this one; borrowed


cdef int sort_points(Point *points, Py_ssize_t count) except -1:
    # Positions are as good as random: parted by their first bits, in one pass, they are nearly sorted.
    cdef int bits = 1
    cdef uint32_t *places = NULL
    cdef Point *parted = <Point *>resized(NULL, (count + 1) * sizeof(Point))
    while (1 << bits) < count:
        bits += 1
    try:
        places = <uint32_t *>resized(NULL, ((1 << bits) + 1) * sizeof(uint32_t))
        part_points(points, count, parted, bits, places)
        insert_in_order(parted, count, points)
    finally:
        free(places)
        free(parted)
    return 0


cdef void part_points(const Point *points, Py_ssize_t count, Point *parted, int bits, uint32_t *places) noexcept nogil:
    cdef Py_ssize_t at
    cdef uint64_t part
    memset(places, 0, ((1 << bits) + 1) * sizeof(uint32_t))
    for at in range(count):
        places[(points[at].position >> (64 - bits)) + 1] += 1
    for at in range(1 << bits):
        places[at + 1] += places[at]
    for at in range(count):
        part = points[at].position >> (64 - bits)
        parted[places[part]] = points[at]
        places[part] += 1


cdef void insert_in_order(const Point *points, Py_ssize_t count, Point *ordered) noexcept nogil:
    cdef Py_ssize_t at, to
    for at in range(count):
        to = at
        while to > 0 and ordered[to - 1].position > points[at].position:
            ordered[to] = ordered[to - 1]
            to -= 1
        ordered[to] = points[at]


cdef void set_points(Point *points, const Member *member, Py_ssize_t first, Py_ssize_t end) noexcept nogil:
    # A member's points by number: those of a smaller weight are among those of a greater one.
    cdef Py_ssize_t number
    for number in range(first, end):
        points[number - first].position = mixed(member.identity + <uint64_t>(number + 1) * STEP)
        points[number - first].target = member.target


cdef uint64_t weight_of_ring(uint64_t total) noexcept nogil:
    # A ring never has many more than POINTS_MAX points: each time weights outgrow it, half of them go.
    cdef uint64_t weight = FULL_WEIGHT
    while weight < total:
        weight *= 2
    return weight


cdef Py_ssize_t points_of(uint64_t weight, uint64_t ring) noexcept nogil:
    return 0 if weight == 0 else max(<Py_ssize_t>(<double>weight / <double>ring * POINTS_MAX), <Py_ssize_t>1)


cdef class RingTable(ConsistentHashTable):
    """Points of every target on a ring; a hash belongs to the next point.

    A target that comes takes something from every other and nothing else moves; one that goes gives it back.
    """

    cdef Point *points          # in order
    cdef Py_ssize_t points_count

    def __dealloc__(self):
        free(self.points)

    cdef PyObject *choose(self, Gathering *gathering, const uint8_t *key, Py_ssize_t key_bytes) except NULL:
        cdef Py_ssize_t at = self.first_from(self.hash(gathering, key, key_bytes), self.points_count)
        return self.points[at if at < self.points_count else 0].target

    cdef Py_ssize_t first_from(self, uint64_t position, Py_ssize_t high) noexcept nogil:
        # The first point that is not before that position; `high` when all of those below it are.
        cdef Py_ssize_t low = 0
        cdef Py_ssize_t middle
        while low < high:
            middle = (low + high) // 2
            if self.points[middle].position < position:
                low = middle + 1
            else:
                high = middle
        return low

    cdef int weigh(self, Py_ssize_t at, uint64_t weight) except -1:
        cdef Member *member = self.members + at
        cdef uint64_t ring = weight_of_ring(self.total_weight)
        cdef uint64_t next_ring = weight_of_ring(self.total_weight - member.weight + weight)
        if weight == 0:
            self.take_points(member.target)
        if ring != next_ring or 0 < weight < member.weight:
            self.place_all(at, weight, next_ring)
        elif weight:
            self.add_points(member, points_of(member.weight, ring), points_of(weight, ring))
        return ConsistentHashTable.weigh(self, at, weight)

    cdef int add_points(self, const Member *member, Py_ssize_t before, Py_ssize_t after) except -1:
        # From the greatest down: each makes room for itself by moving those behind it.
        cdef Py_ssize_t added = after - before
        cdef Py_ssize_t end = self.points_count
        cdef Py_ssize_t number, at
        cdef Point *new = <Point *>resized(NULL, (added + 1) * sizeof(Point))
        try:
            self.points = <Point *>resized(self.points, (self.points_count + added) * sizeof(Point))
            set_points(new, member, before, after)
            sort_points(new, added)
            for number in range(added - 1, -1, -1):
                at = self.first_from(new[number].position, end)
                memmove(self.points + at + number + 1, self.points + at, (end - at) * sizeof(Point))
                self.points[at + number] = new[number]
                end = at
            self.points_count += added
        finally:
            free(new)
        return 0

    cdef int take_points(self, PyObject *target) noexcept:
        cdef Py_ssize_t kept = 0
        cdef Py_ssize_t at
        for at in range(self.points_count):
            if self.points[at].target != target:
                self.points[kept] = self.points[at]
                kept += 1
        self.points_count = kept
        return 0

    cdef int place_all(self, Py_ssize_t changed, uint64_t changed_weight, uint64_t ring) except -1:
        # The ring anew, as it is when that member has that weight.
        cdef Py_ssize_t count = 0
        cdef Py_ssize_t member_points
        cdef Py_ssize_t at
        cdef Point *points
        for at in range(self.members_count):
            count += points_of(changed_weight if at == changed else self.members[at].weight, ring)
        points = <Point *>resized(NULL, (count + 1) * sizeof(Point))
        count = 0
        try:
            for at in range(self.members_count):
                member_points = points_of(changed_weight if at == changed else self.members[at].weight, ring)
                set_points(points + count, &self.members[at], 0, member_points)
                count += member_points
            sort_points(points, count)
        except BaseException:
            free(points)
            raise
        free(self.points)
        self.points = points
        self.points_count = count
        return 0


ALGORITHMS = {"ring": RingTable, "jump": JumpTable}


def consistent_hash_table(*, algorithm="ring", **hash_on):
    """`hash_on` is what is hashed instead of the routing key: hash_header or hash_property."""
    return ALGORITHMS[algorithm](**hash_on)
