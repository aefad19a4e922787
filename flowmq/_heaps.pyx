# See _heaps.pxd for what this module is and is not.

from libc.stdint cimport int64_t
from libc.stdlib cimport free, realloc

from flowmq._frame cimport FLOWMQ_CONTRACT
from flowmq._message cimport count_memory

from flowmq._frame import check_contract

check_contract(FLOWMQ_CONTRACT)

cdef enum:
    CAPACITY_MIN = 8


cdef inline bint keyed_before(const Keyed *left, const Keyed *right) noexcept nogil:
    if left.key != right.key:
        return left.key < right.key
    return left.entry.sequence < right.entry.sequence


cdef inline bint due_before(const Due *left, const Due *right) noexcept nogil:
    if left.due_ms != right.due_ms:
        return left.due_ms < right.due_ms
    return left.sequence < right.sequence


cdef int make_room(void **items, Py_ssize_t *capacity, Py_ssize_t count, size_t item_bytes) except -1:
    cdef Py_ssize_t wanted
    cdef void *moved
    if count < capacity[0]:
        return 0
    wanted = max(<Py_ssize_t>CAPACITY_MIN, capacity[0] * 2)
    moved = realloc(items[0], wanted * item_bytes)
    if moved == NULL:
        raise MemoryError("queue")
    count_memory(<int64_t>((wanted - capacity[0]) * item_bytes))
    items[0] = moved
    capacity[0] = wanted
    return 0


cdef int entry_heap_push(EntryHeap *heap, uint64_t key, const Entry *entry) except -1:
    cdef Py_ssize_t at = heap.count
    cdef Py_ssize_t parent
    cdef Keyed added
    make_room(<void **>&heap.items, &heap.capacity, heap.count, sizeof(Keyed))
    added.key = key
    added.entry = entry[0]
    heap.count += 1
    while at:
        parent = (at - 1) // 2
        if not keyed_before(&added, &heap.items[parent]):
            break
        heap.items[at] = heap.items[parent]
        at = parent
    heap.items[at] = added
    return 0


cdef void entry_heap_pop(EntryHeap *heap, Entry *entry) noexcept nogil:
    cdef Py_ssize_t at = 0
    cdef Py_ssize_t child
    cdef Keyed last
    entry[0] = heap.items[0].entry
    heap.count -= 1
    if heap.count == 0:
        count_memory(-<int64_t>(heap.capacity * sizeof(Keyed)))
        free(heap.items)
        heap.items = NULL
        heap.capacity = 0
        return
    last = heap.items[heap.count]
    while True:
        child = 2 * at + 1
        if child >= heap.count:
            break
        if child + 1 < heap.count and keyed_before(&heap.items[child + 1], &heap.items[child]):
            child += 1
        if not keyed_before(&heap.items[child], &last):
            break
        heap.items[at] = heap.items[child]
        at = child
    heap.items[at] = last


cdef int due_heap_push(DueHeap *heap, const Due *due) except -1:
    cdef Py_ssize_t at = heap.count
    cdef Py_ssize_t parent
    make_room(<void **>&heap.items, &heap.capacity, heap.count, sizeof(Due))
    heap.count += 1
    while at:
        parent = (at - 1) // 2
        if not due_before(due, &heap.items[parent]):
            break
        heap.items[at] = heap.items[parent]
        at = parent
    heap.items[at] = due[0]
    return 0


cdef void due_heap_pop(DueHeap *heap, Due *due) noexcept nogil:
    due[0] = heap.items[0]
    heap.count -= 1
    if heap.count == 0:
        due_heap_clear(heap)
    else:
        sift_down(heap, 0, heap.items[heap.count])


cdef void sift_down(DueHeap *heap, Py_ssize_t at, Due sinking) noexcept nogil:
    cdef Py_ssize_t child
    while True:
        child = 2 * at + 1
        if child >= heap.count:
            break
        if child + 1 < heap.count and due_before(&heap.items[child + 1], &heap.items[child]):
            child += 1
        if not due_before(&heap.items[child], &sinking):
            break
        heap.items[at] = heap.items[child]
        at = child
    heap.items[at] = sinking


cdef void due_heap_mend(DueHeap *heap) noexcept nogil:
    cdef Py_ssize_t at
    if heap.count == 0:
        due_heap_clear(heap)
        return
    for at in range(heap.count // 2 - 1, -1, -1):
        sift_down(heap, at, heap.items[at])


cdef void due_heap_clear(DueHeap *heap) noexcept nogil:
    count_memory(-<int64_t>(heap.capacity * sizeof(Due)))
    free(heap.items)
    heap.items = NULL
    heap.count = heap.capacity = 0
