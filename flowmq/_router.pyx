# See _router.pxd for what this module is and is not.
#
# Matching works on C structures only and borrows the targets, which every exchange's dict of bindings owns. From the
# first match to the finished RouteSet no Python code can run, not even by way of the garbage collector (it does not
# track a RouteSet), so one scratch area serves every route in turn.

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memchr, memcmp, memcpy, memset

from flowmq._frame cimport (
    FLOWMQ_CONTRACT, Cursor, load_long, load_long_long, load_short, read_octet, read_short_string, skip_bytes,
)
from flowmq._queue cimport Queue

from os import urandom

from flowmq._frame import check_contract

check_contract(FLOWMQ_CONTRACT)

cdef extern from * nogil:
    """
    /* Folded multiplication under two secret numbers: clients choose the keys, and must not choose the collisions. */
    static uint64_t hash_seed, hash_secret;

    static inline uint64_t hash_fold(uint64_t a, uint64_t b) {
        __extension__ unsigned __int128 product = (unsigned __int128)a * b;
        return (uint64_t)product ^ (uint64_t)(product >> 64);
    }

    static inline uint64_t hash_octets(const uint8_t *octets, size_t count) {
        uint64_t hash = hash_seed ^ count, block;
        uint32_t first, last;
        for (; count >= 8; octets += 8, count -= 8) {
            memcpy(&block, octets, 8);
            hash = hash_fold(hash ^ block, hash_secret);
        }
        if (count >= 4) {
            memcpy(&first, octets, 4);
            memcpy(&last, octets + count - 4, 4);
            hash = hash_fold(hash ^ ((uint64_t)first << 32 | last), hash_secret);
        } else if (count) {
            block = (uint64_t)octets[0] << 16 | (uint64_t)octets[count >> 1] << 8 | octets[count - 1];
            hash = hash_fold(hash ^ block, hash_secret);
        }
        return hash_fold(hash, hash_seed | 1);
    }
    """
    uint64_t hash_seed
    uint64_t hash_secret
    uint64_t hash_fold(uint64_t a, uint64_t b)
    uint64_t hash_octets(const uint8_t *octets, size_t count)

cdef const uint8_t *octets_of(bytes text) noexcept:
    return <const uint8_t *>PyBytes_AS_STRING(text)

hash_seed = load_long_long(octets_of(urandom(8)))
hash_secret = load_long_long(octets_of(urandom(8))) | 1


cdef void *resized(void *block, size_t block_bytes) except NULL:
    block = realloc(block, block_bytes)
    if block == NULL:
        raise MemoryError
    return block


# --------------------------------------------------------------------------------------------------- gathering

cdef struct Seen:
    PyObject *target
    uint64_t route              # the number of the route that saw it; older ones mean an empty place

cdef Gathering scratch
memset(&scratch, 0, sizeof(scratch))


cdef int gather(Gathering *gathering, PyObject *target) except -1:
    gathering.matches += 1
    if gathering.count == gathering.capacity:
        widen(gathering)
    if note(gathering, target):
        gathering.found[gathering.count] = target
        gathering.count += 1
    return 0


cdef inline bint note(Gathering *gathering, PyObject *target) noexcept nogil:
    # True when this route sees the target for the first time.
    cdef uint64_t at = hash_fold(<size_t>target, hash_secret) & gathering.seen_mask
    while gathering.seen[at].route == gathering.route:
        if gathering.seen[at].target == target:
            return False
        at = (at + 1) & gathering.seen_mask
    gathering.seen[at].target = target
    gathering.seen[at].route = gathering.route
    return True


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


cdef Gathering *begin_route(Exchange source, const uint8_t *headers, uint32_t headers_bytes) except NULL:
    scratch.count = 0
    scratch.route += 1
    scratch.headers = headers
    scratch.headers_bytes = headers_bytes
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


cdef RouteSet NOWHERE = RouteSet()


# ----------------------------------------------------------------------------------------------------- targets

cdef struct Targets:
    PyObject **items            # borrowed
    Py_ssize_t count
    Py_ssize_t capacity


cdef int add_target(Targets *targets, PyObject *target) except -1:
    cdef Py_ssize_t capacity
    if targets.count == targets.capacity:
        capacity = max(targets.capacity * 2, <Py_ssize_t>2)
        targets.items = <PyObject **>resized(targets.items, capacity * sizeof(PyObject *))
        targets.capacity = capacity
    targets.items[targets.count] = target
    targets.count += 1
    return 0


cdef void remove_target(Targets *targets, PyObject *target) noexcept nogil:
    cdef Py_ssize_t position
    for position in range(targets.count):
        if targets.items[position] == target:
            targets.count -= 1
            targets.items[position] = targets.items[targets.count]
            return


cdef int gather_targets(Gathering *gathering, Targets *targets) except -1:
    cdef Py_ssize_t position
    for position in range(targets.count):
        gather(gathering, targets.items[position])
    return 0


# ------------------------------------------------------------------------------------------------------- nodes

cdef enum Kind:
    WORD = 0
    ONE_WORD = 1                # `*`
    ANY_WORDS = 2               # `#`

cdef struct Node:
    # Where a binding key is after one more of its words. The word's octets lie behind the struct.
    Node *next                  # in the same bucket
    Node *parent
    Node *one_word              # its child `*`
    Node *any_words             # its child `#`
    uint64_t hash
    uint64_t salt               # parts the words of this parent from the same words of others
    uint64_t step               # the last step of matching that reached it
    Targets targets
    uint32_t children_count
    uint32_t words_count        # children without wildcards
    uint32_t word_bytes
    Kind kind

cdef struct NodeTable:
    # All nodes of one exchange but the root, by parent and word.
    Node **buckets
    uint64_t buckets_count      # a power of two, or 0
    uint64_t count
    Node root

cdef uint64_t nodes_alive = 0


def live_nodes() -> int:
    """How many nodes the topic and direct exchanges of the process hold."""
    return nodes_alive


cdef Node *find_node(NodeTable *table, Node *parent, Kind kind, const uint8_t *word, Py_ssize_t word_bytes,
                     uint64_t word_hash) noexcept nogil:
    cdef uint64_t hash = word_hash ^ parent.salt
    cdef Node *node
    if table.count == 0:
        return NULL
    node = table.buckets[hash & (table.buckets_count - 1)]
    while node != NULL:
        if (node.hash == hash and node.parent == parent and node.kind == kind and node.word_bytes == word_bytes
                and memcmp(node + 1, word, word_bytes) == 0):
            return node
        node = node.next
    return NULL


cdef Node *make_node(NodeTable *table, Node *parent, Kind kind, const uint8_t *word, Py_ssize_t word_bytes,
                     uint64_t word_hash) except NULL:
    global nodes_alive
    cdef Node *node
    if table.count == table.buckets_count:
        set_buckets(table, max(table.buckets_count * 2, <uint64_t>8))
    node = <Node *>resized(NULL, sizeof(Node) + word_bytes)
    memset(node, 0, sizeof(Node))
    node.parent = parent
    node.hash = word_hash ^ parent.salt
    node.salt = hash_fold(<size_t>node, hash_secret)
    node.word_bytes = <uint32_t>word_bytes
    node.kind = kind
    memcpy(node + 1, word, word_bytes)
    put_in_bucket(table, node)
    table.count += 1
    nodes_alive += 1
    parent.children_count += 1
    if kind == ONE_WORD:
        parent.one_word = node
    elif kind == ANY_WORDS:
        parent.any_words = node
    else:
        parent.words_count += 1
    return node


cdef inline void put_in_bucket(NodeTable *table, Node *node) noexcept nogil:
    cdef Node **bucket = &table.buckets[node.hash & (table.buckets_count - 1)]
    node.next = bucket[0]
    bucket[0] = node


cdef int set_buckets(NodeTable *table, uint64_t buckets_count) except -1:
    cdef Node **before = table.buckets
    cdef uint64_t before_count = table.buckets_count
    cdef Node **buckets = <Node **>calloc(buckets_count, sizeof(Node *))
    cdef Node *node
    cdef Node *next_node
    cdef uint64_t bucket
    if buckets == NULL:
        raise MemoryError
    table.buckets = buckets
    table.buckets_count = buckets_count
    for bucket in range(before_count):
        node = before[bucket]
        while node != NULL:
            next_node = node.next
            put_in_bucket(table, node)
            node = next_node
    free(before)
    return 0


cdef void drop_unused(NodeTable *table, Node *node) noexcept nogil:
    # Upwards from a node that lost a target: what leads nowhere any more goes.
    global nodes_alive
    cdef Node *parent
    cdef Node **link
    while node != &table.root and node.targets.count == 0 and node.children_count == 0:
        parent = node.parent
        link = &table.buckets[node.hash & (table.buckets_count - 1)]
        while link[0] != node:
            link = &link[0].next
        link[0] = node.next
        parent.children_count -= 1
        if node.kind == ONE_WORD:
            parent.one_word = NULL
        elif node.kind == ANY_WORDS:
            parent.any_words = NULL
        else:
            parent.words_count -= 1
        free(node.targets.items)
        free(node)
        table.count -= 1
        nodes_alive -= 1
        node = parent


cdef void free_nodes(NodeTable *table) noexcept nogil:
    global nodes_alive
    cdef uint64_t bucket
    cdef Node *node
    cdef Node *next_node
    for bucket in range(table.buckets_count):
        node = table.buckets[bucket]
        while node != NULL:
            next_node = node.next
            free(node.targets.items)
            free(node)
            nodes_alive -= 1
            node = next_node
    free(table.buckets)
    free(table.root.targets.items)


# ------------------------------------------------------------------------------------------------------ tables

cdef class Table:

    cdef int add(self, PyObject *target, bytes key, bytes match) except -1:
        raise NotImplementedError("Table.add")

    cdef int remove(self, PyObject *target, bytes key, bytes match) except -1:
        raise NotImplementedError("Table.remove")

    cdef int match(self, Gathering *gathering, const uint8_t *key, Py_ssize_t key_bytes) except -1:
        raise NotImplementedError("Table.match")


cdef class FanoutTable(Table):
    """Every target, whatever the key."""

    cdef Targets targets

    def __dealloc__(self):
        free(self.targets.items)

    cdef int add(self, PyObject *target, bytes key, bytes match) except -1:
        return add_target(&self.targets, target)

    cdef int remove(self, PyObject *target, bytes key, bytes match) except -1:
        remove_target(&self.targets, target)
        return 0

    cdef int match(self, Gathering *gathering, const uint8_t *key, Py_ssize_t key_bytes) except -1:
        return gather_targets(gathering, &self.targets)


cdef class DirectTable(Table):
    """The targets of exactly this key."""

    cdef NodeTable nodes

    def __cinit__(self):
        self.by_key = True

    def __dealloc__(self):
        free_nodes(&self.nodes)

    cdef Node *find(self, const uint8_t *key, Py_ssize_t key_bytes) noexcept:
        return find_node(&self.nodes, &self.nodes.root, WORD, key, key_bytes, hash_octets(key, key_bytes))

    cdef int add(self, PyObject *target, bytes key, bytes match) except -1:
        cdef const uint8_t *octets = octets_of(key)
        cdef Py_ssize_t key_bytes = PyBytes_GET_SIZE(key)
        cdef Node *node = self.find(octets, key_bytes)
        if node == NULL:
            node = make_node(&self.nodes, &self.nodes.root, WORD, octets, key_bytes, hash_octets(octets, key_bytes))
        return add_target(&node.targets, target)

    cdef int remove(self, PyObject *target, bytes key, bytes match) except -1:
        cdef Node *node = self.find(octets_of(key), PyBytes_GET_SIZE(key))
        remove_target(&node.targets, target)
        drop_unused(&self.nodes, node)
        return 0

    cdef int match(self, Gathering *gathering, const uint8_t *key, Py_ssize_t key_bytes) except -1:
        cdef Node *node = self.find(key, key_bytes)
        if node == NULL:
            return 0
        return gather_targets(gathering, &node.targets)


# ------------------------------------------------------------------------------------------------------- topic

cdef struct Words:
    const uint8_t *position     # NULL when there are no more
    const uint8_t *end


cdef inline void open_words(Words *words, const uint8_t *key, Py_ssize_t key_bytes) noexcept nogil:
    # The empty key has no words at all; everywhere else an empty word is a word.
    words.position = key if key_bytes else NULL
    words.end = key + key_bytes


cdef inline bint next_word(Words *words, const uint8_t **word, Py_ssize_t *word_bytes) noexcept nogil:
    cdef const uint8_t *dot
    if words.position == NULL:
        return False
    word[0] = words.position
    dot = <const uint8_t *>memchr(words.position, c'.', words.end - words.position)
    word_bytes[0] = (words.end if dot == NULL else dot) - words.position
    words.position = dot
    if dot != NULL:
        words.position += 1
    return True


cdef struct Reached:
    # The nodes that some beginning of the binding keys has reached after some words of the routing key, each once.
    Node **nodes
    Py_ssize_t count
    Py_ssize_t capacity

cdef Reached reached_now
cdef Reached reached_next
cdef uint64_t steps = 0
memset(&reached_now, 0, sizeof(reached_now))
memset(&reached_next, 0, sizeof(reached_next))


cdef int reach(Reached *reached, Node *node, uint64_t step) except -1:
    cdef Py_ssize_t capacity
    # `#` may stand for no word, so that its node is reached together with its parent.
    while node != NULL and node.step != step:
        node.step = step
        if reached.count == reached.capacity:
            capacity = max(reached.capacity * 2, <Py_ssize_t>64)
            reached.nodes = <Node **>resized(reached.nodes, capacity * sizeof(Node *))
            reached.capacity = capacity
        reached.nodes[reached.count] = node
        reached.count += 1
        node = node.any_words
    return 0


cdef class TopicTable(Table):
    """Binding keys as a tree of words.

    A match walks all fitting branches at once, one word of the routing key after the other, so that no binding keys can
    make it visit a node more than once per word.
    """

    cdef NodeTable nodes

    def __cinit__(self):
        self.by_key = True

    def __dealloc__(self):
        free_nodes(&self.nodes)

    cdef Node *walk(self, bytes key, bint make) except? NULL:
        # The node of a binding key; NULL when it is not there and not to be made.
        cdef Words words
        cdef const uint8_t *word
        cdef Py_ssize_t word_bytes
        cdef uint64_t hash
        cdef Kind kind
        cdef Node *node = &self.nodes.root
        cdef Node *child
        open_words(&words, octets_of(key), PyBytes_GET_SIZE(key))
        while next_word(&words, &word, &word_bytes):
            kind = WORD
            if word_bytes == 1 and word[0] == c'*':
                kind = ONE_WORD
            elif word_bytes == 1 and word[0] == c'#':
                kind = ANY_WORDS
            hash = hash_octets(word, word_bytes)
            child = find_node(&self.nodes, node, kind, word, word_bytes, hash)
            if child == NULL:
                if not make:
                    return NULL
                child = make_node(&self.nodes, node, kind, word, word_bytes, hash)
            node = child
        return node

    cdef int add(self, PyObject *target, bytes key, bytes match) except -1:
        cdef Node *node = self.walk(key, True)
        return add_target(&node.targets, target)

    cdef int remove(self, PyObject *target, bytes key, bytes match) except -1:
        cdef Node *node = self.walk(key, False)
        remove_target(&node.targets, target)
        drop_unused(&self.nodes, node)
        return 0

    cdef int match(self, Gathering *gathering, const uint8_t *key, Py_ssize_t key_bytes) except -1:
        global steps, reached_now, reached_next
        cdef Words words
        cdef const uint8_t *word
        cdef Py_ssize_t word_bytes
        cdef Py_ssize_t position
        steps += 1
        reached_now.count = 0
        reach(&reached_now, &self.nodes.root, steps)
        open_words(&words, key, key_bytes)
        while reached_now.count and next_word(&words, &word, &word_bytes):
            self.advance(word, word_bytes)
            reached_now, reached_next = reached_next, reached_now
        for position in range(reached_now.count):
            gather_targets(gathering, &reached_now.nodes[position].targets)
        return 0

    cdef int advance(self, const uint8_t *word, Py_ssize_t word_bytes) except -1:
        # One word further: from the nodes in `reached_now` to those in `reached_next`.
        global steps
        cdef uint64_t hash = hash_octets(word, word_bytes)
        cdef Py_ssize_t position
        cdef Node *node
        steps += 1
        reached_next.count = 0
        for position in range(reached_now.count):
            node = reached_now.nodes[position]
            if node.kind == ANY_WORDS:
                reach(&reached_next, node, steps)
            reach(&reached_next, node.one_word, steps)
            if node.words_count:
                reach(&reached_next, find_node(&self.nodes, node, WORD, word, word_bytes, hash), steps)
        return 0


# ----------------------------------------------------------------------------------------------------- headers

cdef enum ValueKind:
    VOID = 0
    BOOLEAN = 1
    NUMBER = 2                  # any integer, a timestamp, and floating-point numbers that are whole
    FRACTION = 3                # other floating-point numbers
    STRING = 4
    DECIMAL = 5
    TABLE = 6
    ARRAY = 7

cdef struct Value:
    # Decoded far enough for equal values to have equal fields (and octets).
    ValueKind kind
    bint negative
    uint64_t bits
    const uint8_t *octets
    uint32_t octets_count

cdef struct Field:
    const uint8_t *name
    uint8_t name_bytes
    uint64_t hash
    Value value

cdef struct Fields:
    # A decoded field table. Points into its octets.
    Field *items
    Py_ssize_t count
    Py_ssize_t capacity

cdef struct Rule:
    # A binding of a headers exchange. Behind it lie its fields to compare, then the octets they point into.
    PyObject *target            # borrowed
    bint any_field              # else all of them
    Py_ssize_t fields_count
    uint32_t octets_count

cdef struct MessageHeaders:
    Fields fields
    uint32_t *places            # open addressing: position in `fields` + 1, or 0
    uint64_t places_count       # a power of two
    uint64_t places_used_count  # the same for this message

cdef MessageHeaders message
memset(&message, 0, sizeof(message))


cdef inline void set_integer(Value *value, int64_t number) noexcept nogil:
    value.kind = NUMBER
    value.negative = number < 0
    value.bits = <uint64_t>number


cdef inline void set_floating(Value *value, double number) noexcept nogil:
    # A whole number equals the integer of the same value.
    if -9007199254740992.0 <= number <= 9007199254740992.0 and <double><int64_t>number == number:
        set_integer(value, <int64_t>number)
    else:
        value.kind = FRACTION
        memcpy(&value.bits, &number, sizeof(number))


cdef bint read_octets(Cursor *cursor, Value *value, ValueKind kind, uint32_t count) noexcept nogil:
    value.kind = kind
    value.octets = cursor.position
    value.octets_count = count
    return skip_bytes(cursor, count)


cdef bint read_long_octets(Cursor *cursor, Value *value, ValueKind kind) noexcept nogil:
    cdef const uint8_t *at = cursor.position
    return skip_bytes(cursor, 4) and read_octets(cursor, value, kind, load_long(at))


cdef bint read_value(Cursor *cursor, Value *value) noexcept nogil:
    cdef uint8_t kind
    memset(value, 0, sizeof(Value))
    if not read_octet(cursor, &kind):
        return False
    if kind == c'S' or kind == c'x':
        return read_long_octets(cursor, value, STRING)
    if kind == c'F':
        return read_long_octets(cursor, value, TABLE)
    if kind == c'A':
        return read_long_octets(cursor, value, ARRAY)
    if kind == c'D':
        return read_octets(cursor, value, DECIMAL, 5)
    if kind == c'V':
        return True
    return read_number(cursor, kind, value)


cdef bint read_number(Cursor *cursor, uint8_t kind, Value *value) noexcept nogil:
    cdef const uint8_t *at = cursor.position
    cdef uint32_t single_bits
    cdef uint64_t double_bits
    cdef float single
    cdef double number
    if not skip_bytes(cursor, number_bytes(kind)):
        return False
    if kind == c't':
        value.kind = BOOLEAN
        value.bits = at[0] != 0
    elif kind == c'b':
        set_integer(value, <int8_t>at[0])
    elif kind == c'B':
        set_integer(value, at[0])
    elif kind == c's':
        set_integer(value, <int16_t>load_short(at))
    elif kind == c'u':
        set_integer(value, load_short(at))
    elif kind == c'I':
        set_integer(value, <int32_t>load_long(at))
    elif kind == c'i':
        set_integer(value, load_long(at))
    elif kind == c'l':
        set_integer(value, <int64_t>load_long_long(at))
    elif kind == c'T':
        value.kind = NUMBER
        value.bits = load_long_long(at)
    elif kind == c'f':
        single_bits = load_long(at)
        memcpy(&single, &single_bits, 4)
        set_floating(value, single)
    elif kind == c'd':
        double_bits = load_long_long(at)
        memcpy(&number, &double_bits, 8)
        set_floating(value, number)
    else:
        return False
    return True


cdef size_t number_bytes(uint8_t kind) noexcept nogil:
    if kind == c't' or kind == c'b' or kind == c'B':
        return 1
    if kind == c's' or kind == c'u':
        return 2
    if kind == c'I' or kind == c'i' or kind == c'f':
        return 4
    if kind == c'l' or kind == c'T' or kind == c'd':
        return 8
    return 0


cdef inline bint equal_values(const Value *one, const Value *other) noexcept nogil:
    return (one.kind == other.kind and one.bits == other.bits and one.negative == other.negative
            and one.octets_count == other.octets_count
            and (one.octets_count == 0 or memcmp(one.octets, other.octets, one.octets_count) == 0))


cdef bint read_fields(Fields *fields, const uint8_t *table, uint32_t table_bytes) except -1:
    # False when the table is malformed.
    cdef Cursor cursor
    cdef Py_ssize_t capacity
    cdef Field *field
    cursor.position = table
    cursor.end = table + table_bytes
    fields.count = 0
    while cursor.position < cursor.end:
        if fields.count == fields.capacity:
            capacity = max(fields.capacity * 2, <Py_ssize_t>16)
            fields.items = <Field *>resized(fields.items, capacity * sizeof(Field))
            fields.capacity = capacity
        field = &fields.items[fields.count]
        if not read_short_string(&cursor, &field.name, &field.name_bytes) or not read_value(&cursor, &field.value):
            return False
        field.hash = hash_octets(field.name, field.name_bytes)
        fields.count += 1
    return True


cdef int read_message_headers(const uint8_t *table, uint32_t table_bytes) except -1:
    # A malformed table has no fields; of several fields with one name the first counts.
    cdef Py_ssize_t position
    cdef uint64_t wanted = 8
    cdef uint64_t at
    if not read_fields(&message.fields, table, table_bytes):
        message.fields.count = 0
    while wanted < <uint64_t>message.fields.count * 2:
        wanted *= 2
    if wanted > message.places_count:
        message.places = <uint32_t *>resized(message.places, wanted * sizeof(uint32_t))
        message.places_count = wanted
    message.places_used_count = wanted
    memset(message.places, 0, wanted * sizeof(uint32_t))
    for position in range(message.fields.count):
        at = message.fields.items[position].hash & (wanted - 1)
        while message.places[at]:
            at = (at + 1) & (wanted - 1)
        message.places[at] = <uint32_t>(position + 1)
    return 0


cdef const Value *find_header(const Field *wanted) noexcept nogil:
    cdef uint64_t mask = message.places_used_count - 1
    cdef uint64_t at = wanted.hash & mask
    cdef const Field *field
    while message.places[at]:
        field = &message.fields.items[message.places[at] - 1]
        if (field.hash == wanted.hash and field.name_bytes == wanted.name_bytes
                and memcmp(field.name, wanted.name, wanted.name_bytes) == 0):
            return &field.value
        at = (at + 1) & mask
    return NULL


cdef inline Field *rule_fields(Rule *rule) noexcept nogil:
    return <Field *>(rule + 1)


cdef inline uint8_t *rule_octets(Rule *rule) noexcept nogil:
    return <uint8_t *>(rule_fields(rule) + rule.fields_count)


cdef bint rule_holds(Rule *rule) noexcept nogil:
    cdef Field *fields = rule_fields(rule)
    cdef const Value *value
    cdef Py_ssize_t position
    cdef bint equal
    for position in range(rule.fields_count):
        value = find_header(&fields[position])
        # A void value in a binding asks for presence only.
        equal = value != NULL and (fields[position].value.kind == VOID or equal_values(&fields[position].value, value))
        if equal == rule.any_field:
            return rule.any_field
    return not rule.any_field


cdef bytes field_name(const Field *field):
    return PyBytes_FromStringAndSize(<const char *>field.name, field.name_bytes)


cdef Rule *new_rule(PyObject *target, bytes match) except NULL:
    # The table is copied whole, to be told from others by its octets and for the fields to point into.
    cdef uint32_t octets_count = <uint32_t>PyBytes_GET_SIZE(match)
    cdef Fields fields
    cdef Rule *rule
    cdef Field *field
    cdef Py_ssize_t position
    cdef bytes mode = b"all"
    memset(&fields, 0, sizeof(fields))
    try:
        if not read_fields(&fields, octets_of(match), octets_count):
            raise ValueError("binding arguments are not a field table")
        for position in range(fields.count):
            field = &fields.items[position]
            if field_name(field) == b"x-match" and field.value.kind == STRING:
                mode = PyBytes_FromStringAndSize(<const char *>field.value.octets, field.value.octets_count)
        rule = <Rule *>resized(NULL, sizeof(Rule) + fields.count * sizeof(Field) + octets_count)
        rule.target = target
        rule.any_field = mode.startswith(b"any")
        rule.octets_count = octets_count
        rule.fields_count = fields_to_compare(&fields, mode.endswith(b"-with-x"))
        memcpy(rule_octets(rule), octets_of(match), octets_count)
        for position in range(rule.fields_count):
            field = &rule_fields(rule)[position]
            field[0] = fields.items[position]
            field.name = rule_octets(rule) + (field.name - octets_of(match))
            if field.value.octets != NULL:
                field.value.octets = rule_octets(rule) + (field.value.octets - octets_of(match))
        return rule
    finally:
        free(fields.items)


cdef Py_ssize_t fields_to_compare(Fields *fields, bint with_x):
    # Moves them to the front; returns how many there are.
    cdef Py_ssize_t count = 0
    cdef Py_ssize_t position
    cdef Field *field
    cdef bytes name
    for position in range(fields.count):
        field = &fields.items[position]
        name = field_name(field)
        if name != b"x-match" and (with_x or not name.startswith(b"x-")):
            fields.items[count] = field[0]
            count += 1
    return count


cdef class HeadersTable(Table):
    """Bindings by their arguments, compared with the message's headers one binding after the other."""

    cdef Rule **rules
    cdef Py_ssize_t rules_count
    cdef Py_ssize_t rules_capacity

    def __cinit__(self):
        self.by_headers = True

    def __dealloc__(self):
        cdef Py_ssize_t position
        for position in range(self.rules_count):
            free(self.rules[position])
        free(self.rules)

    cdef int add(self, PyObject *target, bytes key, bytes match) except -1:
        cdef Py_ssize_t capacity
        if self.rules_count == self.rules_capacity:
            capacity = max(self.rules_capacity * 2, <Py_ssize_t>8)
            self.rules = <Rule **>resized(self.rules, capacity * sizeof(Rule *))
            self.rules_capacity = capacity
        self.rules[self.rules_count] = new_rule(target, match)
        self.rules_count += 1
        return 0

    cdef int remove(self, PyObject *target, bytes key, bytes match) except -1:
        cdef Py_ssize_t position
        cdef Rule *rule
        for position in range(self.rules_count):
            rule = self.rules[position]
            if (rule.target == target and rule.octets_count == PyBytes_GET_SIZE(match)
                    and memcmp(rule_octets(rule), octets_of(match), rule.octets_count) == 0):
                self.rules_count -= 1
                self.rules[position] = self.rules[self.rules_count]
                free(rule)
                return 0
        return 0

    cdef int match(self, Gathering *gathering, const uint8_t *key, Py_ssize_t key_bytes) except -1:
        cdef Py_ssize_t position
        if not gathering.headers_read:
            read_message_headers(gathering.headers, gathering.headers_bytes)
            gathering.headers_read = True
        for position in range(self.rules_count):
            if rule_holds(self.rules[position]):
                gather(gathering, self.rules[position].target)
        return 0


TABLES = {"direct": DirectTable, "fanout": FanoutTable, "topic": TopicTable, "headers": HeadersTable}


# ------------------------------------------------------------------------------------------------------- cache

cdef enum:
    PLACES_PER_SET = 4
    SETS_MAX = 1024
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

    def __cinit__(self, bytes name not None=b"", str type="direct", *, bint internal=False):
        if type not in TABLES:
            raise ValueError(f"unknown exchange type {type!r}")
        self.bindings_ = {}
        self.downstream = {}
        self.upstream = {}
        self.name = name
        self.type = type
        self.internal = internal
        self.table = TABLES[type]()
        self.judge_way()

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
            self.unlink(self.alternate_)
        self.alternate_ = other
        self.change(True)

    def bind(self, target, bytes key not None, bytes match not None=b"") -> bool:
        """Add a binding; False when it was there."""
        cdef dict bindings
        if not isinstance(target, (Queue, Exchange)):
            raise TypeError(f"a binding leads to a queue or an exchange, not to {type(target).__name__}")
        check_alive(self, target.deleted)
        bindings = self.bindings_.setdefault(target, {})
        if (key, match) in bindings:
            return False
        try:
            self.table.add(<PyObject *>target, key, match)
        except BaseException:
            if not bindings:
                del self.bindings_[target]
            raise
        bindings[key, match] = None
        self.bindings_count += 1
        if isinstance(target, Exchange):
            self.link(target)
        self.change(isinstance(target, Exchange))
        return True

    def unbind(self, target, bytes key, bytes match=b"") -> bool:
        """Remove a binding; False when there was none."""
        cdef dict bindings = self.bindings_.get(target)
        if bindings is None or (key, match) not in bindings:
            return False
        del bindings[key, match]
        self.remove_binding(target, (key, match))
        if not bindings:
            del self.bindings_[target]
        self.change(isinstance(target, Exchange))
        return True

    def unbind_target(self, target) -> int:
        """Remove every binding to a target; returns how many there were."""
        cdef dict bindings = self.bindings_.pop(target, None)
        if bindings is None:
            return 0
        for binding in bindings:
            self.remove_binding(target, binding)
        self.change(isinstance(target, Exchange))
        return len(bindings)

    def bindings(self) -> list:
        return [(target, key, match) for target, bindings in self.bindings_.items() for key, match in bindings]

    def routes(self, bytes key not None, bytes headers=None, *, other_keys=()) -> list:
        """The queues that a message with this routing key, headers table and further keys (CC, BCC) goes to."""
        cdef const uint8_t *table = NULL
        cdef uint32_t table_bytes = 0
        cdef RouteSet found
        cdef Py_ssize_t position
        if headers is not None:
            table = octets_of(headers)
            table_bytes = <uint32_t>len(headers)
        if other_keys:
            found = self.route_keys([key, *map(bytes, other_keys)], table, table_bytes)
        else:
            found = self.route(octets_of(key), len(key), table, table_bytes)
        return [<object>found.targets[position] for position in range(found.count)]

    def delete(self):
        """Drop every binding from here, and every binding and alternate that leads here."""
        cdef Exchange other
        cdef Exchange source
        self.deleted = True
        self.table = TABLES[self.type]()
        self.bindings_ = {}
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

    # ---------------------------------------------------------------------------------------------------- changes

    cdef int remove_binding(self, object target, tuple binding) except -1:
        key, match = binding
        self.table.remove(<PyObject *>target, key, match)
        self.bindings_count -= 1
        if isinstance(target, Exchange):
            self.unlink(target)
        return 0

    cdef int link(self, Exchange other) except -1:
        self.downstream[other] = self.downstream.get(other, 0) + 1
        other.upstream[self] = self.downstream[other]
        return 0

    cdef int unlink(self, Exchange other) except -1:
        count = self.downstream[other] - 1
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
                exchange.judge_way()
        for exchange in affected:
            cache_clear(&exchange.cache)
        return 0

    cdef int judge_way(self) except -1:
        # What decides where a message goes, here and everywhere it can go on to from here.
        cdef Exchange exchange
        cdef set met = {self}
        cdef list waiting = [self]
        self.by_key = self.by_headers = False
        while waiting:
            exchange = waiting.pop()
            self.by_key |= exchange.table.by_key
            self.by_headers |= exchange.table.by_headers
            waiting += exchange.downstream.keys() - met
            met.update(exchange.downstream)
        return 0

    # ---------------------------------------------------------------------------------------------- per message

    cdef RouteSet route(self, const uint8_t *key, Py_ssize_t key_bytes, const uint8_t *headers,
                        uint32_t headers_bytes):
        cdef PyObject *cached
        cdef RouteSet routes
        cdef uint64_t hash
        if self.by_headers:
            return find_way(self, key, key_bytes, None, headers, headers_bytes)
        if not self.by_key:
            key_bytes = 0
        hash = hash_octets(key, key_bytes)
        cached = cache_find(&self.cache, key, key_bytes, hash)
        if cached != NULL:
            return <RouteSet>cached
        routes = find_way(self, key, key_bytes, None, headers, headers_bytes)
        cache_put(&self.cache, key, key_bytes, hash, routes)
        return routes

    cdef RouteSet route_keys(self, list keys, const uint8_t *headers, uint32_t headers_bytes):
        return find_way(self, NULL, 0, keys, headers, headers_bytes)

    cdef int match_keys(self, Gathering *gathering, list keys) except -1:
        for key in keys:
            self.table.match(gathering, octets_of(<bytes>key), PyBytes_GET_SIZE(<bytes>key))
            if not self.table.by_key:
                break
        return 0


cdef RouteSet find_way(Exchange source, const uint8_t *key, Py_ssize_t key_bytes, list keys, const uint8_t *headers,
                       uint32_t headers_bytes):
    # By one key, or by all of `keys`. Every exchange found on the way is asked once: a cycle ends by itself.
    cdef Gathering *gathering = begin_route(source, headers, headers_bytes)
    cdef Exchange exchange
    cdef Py_ssize_t exchanges_count = 0
    cdef Py_ssize_t position = 0
    cdef uint64_t matches
    while position < gathering.count:
        if not isinstance(<object>gathering.found[position], Queue):
            exchange = <Exchange>gathering.found[position]
            exchanges_count += 1
            matches = gathering.matches
            if keys is None:
                exchange.table.match(gathering, key, key_bytes)
            else:
                exchange.match_keys(gathering, keys)
            if gathering.matches == matches and exchange.alternate_ is not None:
                gather(gathering, <PyObject *>exchange.alternate_)
        position += 1
    return end_route(gathering, gathering.count - exchanges_count)


cdef class DefaultExchange(Exchange):
    """Every queue under its own name."""

    def __cinit__(self):
        pass

    def add(self, Queue queue not None):
        self.bind(queue, queue.name)

    def remove(self, Queue queue not None):
        self.unbind(queue, queue.name)
