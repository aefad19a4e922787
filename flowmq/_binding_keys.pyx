# Tables of bindings by their binding keys: direct, topic, and fanout, to which they are all one.
#
# What an exchange does with what matches is not known here. Everything a match touches is a C structure, and the
# targets in it are borrowed: the exchange owns them and removes a binding before it lets its target go.

from cpython.bytes cimport PyBytes_GET_SIZE
from cpython.object cimport PyObject
from cpython.pyport cimport PY_SSIZE_T_MAX
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memchr, memcmp, memcpy, memset

from flowmq._frame cimport FLOWMQ_CONTRACT
from flowmq._matching cimport Gathering, Table, gather, hash_address, hash_octets, octets_of, resized

from flowmq._frame import check_contract

check_contract(FLOWMQ_CONTRACT)

# ----------------------------------------------------------------------------------------------------- targets

cdef enum:
    UNINDEXED_MAX = 32

cdef struct TargetPlace:
    uint32_t times              # it is bound so often; 0 is an empty place
    uint32_t position

cdef struct TargetIndex:
    uint64_t mask               # places - 1: a power of two, at most half full, open addressing
    TargetPlace *places         # behind the struct

cdef struct Targets:
    # What a route walks through. Few are looked through when one goes, and stand here once for each binding. Many have
    # an index, and stand here once.
    PyObject **items            # borrowed
    Py_ssize_t count
    Py_ssize_t capacity
    TargetIndex *index          # NULL: they are few


cdef TargetPlace *place_of(Targets *targets, PyObject *target) noexcept nogil:
    # The place of a target, or the empty one where it belongs.
    cdef TargetPlace *places = targets.index.places
    cdef uint64_t at = hash_address(target) & targets.index.mask
    while places[at].times and targets.items[places[at].position] != target:
        at = (at + 1) & targets.index.mask
    return &places[at]


cdef int make_index(Targets *targets, uint64_t places_count) except -1:
    """The first one, or a wider one. What stands there more than once is put together."""
    cdef TargetIndex *before = targets.index
    cdef TargetIndex *index = <TargetIndex *>calloc(1, sizeof(TargetIndex) + places_count * sizeof(TargetPlace))
    cdef Py_ssize_t position
    cdef Py_ssize_t count = targets.count
    cdef uint64_t at
    if index == NULL:
        raise MemoryError
    index.mask = places_count - 1
    index.places = <TargetPlace *>(index + 1)
    targets.index = index
    if before != NULL:
        for at in range(before.mask + 1):
            if before.places[at].times:
                place_of(targets, targets.items[before.places[at].position])[0] = before.places[at]
        free(before)
        return 0
    targets.count = 0
    for position in range(count):
        note_target(targets, targets.items[position])
    return 0


cdef void note_target(Targets *targets, PyObject *target) noexcept nogil:
    # Where there is an index, and room.
    cdef TargetPlace *place = place_of(targets, target)
    if place.times == 0:
        place.position = <uint32_t>targets.count
        targets.items[targets.count] = target
        targets.count += 1
    place.times += 1


cdef int add_target(Targets *targets, PyObject *target) except -1:
    cdef Py_ssize_t capacity
    if targets.count == targets.capacity:
        capacity = max(targets.capacity * 2, <Py_ssize_t>2)
        targets.items = <PyObject **>resized(targets.items, capacity * sizeof(PyObject *))
        targets.capacity = capacity
    if targets.index == NULL and targets.count < UNINDEXED_MAX:
        targets.items[targets.count] = target
        targets.count += 1
        return 0
    if targets.index == NULL:
        make_index(targets, 4 * UNINDEXED_MAX)
    elif 2 * <uint64_t>(targets.count + 1) > targets.index.mask + 1:
        make_index(targets, 2 * (targets.index.mask + 1))
    note_target(targets, target)
    return 0


cdef void remove_target(Targets *targets, PyObject *target) noexcept nogil:
    """One binding of it."""
    cdef Py_ssize_t position
    cdef TargetPlace *place
    if targets.index != NULL:
        place = place_of(targets, target)
        place.times -= 1
        if place.times == 0:
            leave_place(targets, place)
        return
    for position in range(targets.count):
        if targets.items[position] == target:
            targets.count -= 1
            targets.items[position] = targets.items[targets.count]
            return


cdef void remove_all_of_target(Targets *targets, PyObject *target) noexcept nogil:
    cdef Py_ssize_t position
    cdef Py_ssize_t kept = 0
    cdef TargetPlace *place
    if targets.index != NULL:
        place = place_of(targets, target)
        if place.times:
            place.times = 0
            leave_place(targets, place)
        return
    for position in range(targets.count):
        if targets.items[position] != target:
            targets.items[kept] = targets.items[position]
            kept += 1
    targets.count = kept


cdef void leave_place(Targets *targets, TargetPlace *left) noexcept nogil:
    """The last target takes the position of one that is gone, and what had to make way for its place goes back."""
    cdef TargetPlace *places = targets.index.places
    cdef uint64_t mask = targets.index.mask
    cdef uint32_t position = left.position
    cdef uint64_t hole = left - places
    cdef uint64_t at = (hole + 1) & mask
    cdef uint64_t wanted
    while places[at].times:
        wanted = hash_address(targets.items[places[at].position]) & mask
        if ((at - wanted) & mask) >= ((at - hole) & mask):
            places[hole] = places[at]
            places[at].times = 0
            hole = at
        at = (at + 1) & mask
    targets.count -= 1
    if <Py_ssize_t>position != targets.count:
        place_of(targets, targets.items[targets.count]).position = position
        targets.items[position] = targets.items[targets.count]
    if targets.count == 0:
        free_targets(targets)


cdef void free_targets(Targets *targets) noexcept nogil:
    free(targets.items)
    free(targets.index)
    memset(targets, 0, sizeof(Targets))


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
    node.salt = hash_address(node)
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
        free_targets(&node.targets)
        free(node)
        table.count -= 1
        nodes_alive -= 1
        node = parent


cdef bint free_some_nodes(NodeTable *table, Py_ssize_t count) noexcept nogil:
    # Of a table that is not used any more, so many and some more; are there others left?
    global nodes_alive
    cdef Node *node
    cdef Node *next_node
    while table.buckets_count and count > 0:
        table.buckets_count -= 1
        count -= 1
        node = table.buckets[table.buckets_count]
        while node != NULL:
            next_node = node.next
            free_targets(&node.targets)
            free(node)
            nodes_alive -= 1
            count -= 1
            node = next_node
    return table.buckets_count > 0


cdef void free_nodes(NodeTable *table) noexcept nogil:
    while free_some_nodes(table, PY_SSIZE_T_MAX):
        pass
    free(table.buckets)
    free_targets(&table.root.targets)


# ------------------------------------------------------------------------------------------- fanout and direct

cdef class FanoutTable(Table):
    """Every target, whatever the key."""

    cdef Targets targets

    def __dealloc__(self):
        free_targets(&self.targets)

    cdef int add(self, PyObject *target, bytes key, bytes match) except -1:
        return add_target(&self.targets, target)

    cdef int remove(self, PyObject *target, bytes key, bytes match) except -1:
        remove_target(&self.targets, target)
        return 0

    cdef bint remove_all(self, PyObject *target) except? True:
        remove_all_of_target(&self.targets, target)
        return True

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

    cdef bint free_some(self, Py_ssize_t count) noexcept:
        return free_some_nodes(&self.nodes, count)

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

    cdef bint free_some(self, Py_ssize_t count) noexcept:
        return free_some_nodes(&self.nodes, count)

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
