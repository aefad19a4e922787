# See _summary.pxd for what this module is and is not.

from array import array

from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memset

from flowmq._frame cimport FLOWMQ_CONTRACT
from flowmq._records cimport RECORD_HEADER_BYTES, TargetRecord

from flowmq._frame import check_contract

check_contract(FLOWMQ_CONTRACT)

cdef enum:
    VARINT_BYTES_MAX = 10
    GROUP_BYTES_MAX = 60
    KIND_BITS = 2
    MARK_BYTES = 512            # of the stream, between two places that find() remembers


# -------------------------------------------------------------------------------------------------------- numbers

cdef inline uint8_t *put_number(uint8_t *at, uint64_t number) noexcept nogil:
    while number >= 0x80:
        at[0] = <uint8_t>(number | 0x80)
        number >>= 7
        at += 1
    at[0] = <uint8_t>number
    return at + 1


cdef inline const uint8_t *get_number(const uint8_t *at, uint64_t *number) noexcept nogil:
    # Of octets that are known to be complete.
    cdef uint64_t value = at[0] & 0x7F
    cdef int shift = 7
    while at[0] & 0x80:
        at += 1
        value |= <uint64_t>(at[0] & 0x7F) << shift
        shift += 7
    number[0] = value
    return at + 1


cdef struct Reader:
    const uint8_t *at
    const uint8_t *end
    bint failed                 # something was missing or too large


cdef uint64_t read_number(Reader *reader) noexcept nogil:
    cdef uint64_t value = 0
    cdef int shift = 0
    cdef uint8_t octet
    while reader.at < reader.end and shift < 64:
        octet = reader.at[0]
        reader.at += 1
        value |= <uint64_t>(octet & 0x7F) << shift
        if not octet & 0x80:
            return value
        shift += 7
    reader.failed = True
    return 0


cdef int append_numbers(bytearray octets, const uint64_t *numbers, int count) except -1:
    cdef uint8_t room[VARINT_BYTES_MAX * 8]
    cdef uint8_t *end = room
    cdef int at
    for at in range(count):
        end = put_number(end, numbers[at])
    octets.extend((<char *>room)[:end - room])
    return 0


# ---------------------------------------------------------------------------------------------------------- a part

cdef inline uint64_t last_of_group(const Cursor *cursor) noexcept nogil:
    return cursor.sequence + (cursor.group.repeat - cursor.taken) * cursor.group.sequence_step


cdef class Part:
    """The messages of one queue in one segment, or some of them, ascending."""

    def __cinit__(self, uint32_t queue_id):
        self.queue_id = queue_id

    def __dealloc__(self):
        free(self.stream)
        free(self.marks)

    cdef size_t append(self, const Described *message, uint64_t expires_at_ms) except? 0xFFFFFFFF:
        cdef Group *group = &self.open
        cdef uint64_t sequence_step = message.sequence - self.last
        cdef uint64_t offset_step = message.offset - self.last_offset
        cdef uint64_t extra = message.record_bytes - message.body_bytes
        cdef size_t before = self.bytes
        if message.kind & IS_TARGET:
            extra = message.offset - message.message_offset
        if (group.repeat == 0 or group.sequence_step != sequence_step or group.offset_step != offset_step
                or group.body_bytes != message.body_bytes or group.extra != extra or group.kind != message.kind):
            if group.repeat:
                self.close_group()
            group.repeat = 0
            group.sequence_step, group.offset_step = sequence_step, offset_step
            group.body_bytes, group.extra, group.kind = message.body_bytes, extra, message.kind
        group.repeat += 1
        self.count += 1
        self.last, self.last_offset = message.sequence, message.offset
        self.record_bytes += message.record_bytes
        self.kinds |= message.kind
        if expires_at_ms and (self.expires_next_ms == 0 or expires_at_ms < self.expires_next_ms):
            self.expires_next_ms = expires_at_ms
        if self.count > 1 and (expires_at_ms < self.expires_last_ms or (expires_at_ms and self.expires_last_ms == 0)):
            self.kinds |= EXPIRES_UNEVENLY
        self.expires_last_ms = expires_at_ms
        return self.bytes - before

    cdef int close_group(self) except -1:
        cdef size_t capacity
        cdef void *moved
        cdef uint8_t *at
        if self.bytes + GROUP_BYTES_MAX > self.capacity:
            capacity = max(<size_t>2 * GROUP_BYTES_MAX, self.capacity + (self.capacity >> 1))
            moved = realloc(self.stream, capacity)
            if moved == NULL:
                raise MemoryError("summary of a segment")
            self.stream, self.capacity = <uint8_t *>moved, capacity
        at = put_number(self.stream + self.bytes, self.open.repeat << KIND_BITS | self.open.kind)
        at = put_number(at, self.open.sequence_step)
        at = put_number(at, self.open.offset_step)
        at = put_number(at, self.open.body_bytes)
        at = put_number(at, self.open.extra)
        self.bytes = at - self.stream
        return 0

    cdef void group_at(self, size_t place, Group *group) noexcept nogil:
        cdef const uint8_t *at = self.stream + place
        cdef uint64_t repeat_and_kind
        if place == self.bytes:
            group[0] = self.open
            group.next = place
            return
        at = get_number(at, &repeat_and_kind)
        group.repeat = repeat_and_kind >> KIND_BITS
        group.kind = <uint32_t>(repeat_and_kind & ((1 << KIND_BITS) - 1))
        at = get_number(at, &group.sequence_step)
        at = get_number(at, &group.offset_step)
        at = get_number(at, &group.body_bytes)
        at = get_number(at, &group.extra)
        group.next = at - self.stream

    cdef bint advance(self, Cursor *cursor) noexcept nogil:
        if cursor.taken == cursor.group.repeat:
            if cursor.group.next == cursor.at:
                # It was open when it was looked at, and may have grown or been closed since.
                self.group_at(cursor.at, &cursor.group)
            if cursor.taken == cursor.group.repeat:
                if cursor.group.next == cursor.at:
                    return False
                cursor.at = cursor.group.next
                cursor.taken = 0
                self.group_at(cursor.at, &cursor.group)
                if cursor.group.repeat == 0:
                    return False
        cursor.taken += 1
        cursor.sequence += cursor.group.sequence_step
        cursor.offset += cursor.group.offset_step
        return True

    cdef bint seek(self, Cursor *cursor, uint64_t sequence) noexcept nogil:
        cdef uint64_t steps
        while cursor.sequence < sequence:
            if cursor.taken < cursor.group.repeat:
                steps = (sequence - cursor.sequence + cursor.group.sequence_step - 1) // cursor.group.sequence_step
                steps = min(steps, cursor.group.repeat - cursor.taken)
                cursor.taken += steps
                cursor.sequence += steps * cursor.group.sequence_step
                cursor.offset += steps * cursor.group.offset_step
            elif not self.advance(cursor):
                return False
        return True

    cdef bint find(self, uint64_t sequence) noexcept nogil:
        cdef Cursor *mark = self.mark_before(sequence)
        if mark != NULL and (sequence < self.sought or mark.sequence > self.reading.sequence):
            self.reading = mark[0]
        elif sequence < self.sought:
            memset(&self.reading, 0, sizeof(Cursor))
        self.sought = sequence
        while self.reading.sequence < sequence:
            if self.reading.taken < self.reading.group.repeat:
                self.seek(&self.reading, min(sequence, last_of_group(&self.reading)))
            elif self.advance(&self.reading):
                self.mark()
            else:
                return False
        return True

    cdef void mark(self) noexcept nogil:
        """Remember where `reading` is, if the last place like that is far behind."""
        cdef void *moved
        cdef Py_ssize_t capacity
        if self.reading.group.next == self.reading.at or self.reading.taken != 1:
            # A group that is still open is not what it will be.
            return
        if self.marks_count and self.reading.at < self.marks[self.marks_count - 1].at + MARK_BYTES:
            return
        if self.marks_count == self.marks_capacity:
            capacity = max(<Py_ssize_t>8, self.marks_capacity * 2)
            moved = realloc(self.marks, capacity * sizeof(Cursor))
            if moved == NULL:
                # It only takes longer without.
                return
            self.marks = <Cursor *>moved
            self.marks_capacity = capacity
        self.marks[self.marks_count] = self.reading
        self.marks_count = self.marks_count + 1

    cdef Cursor *mark_before(self, uint64_t sequence) noexcept nogil:
        """The last mark that is not behind that message; NULL when there is none."""
        cdef Py_ssize_t low = 0
        cdef Py_ssize_t high = self.marks_count
        cdef Py_ssize_t middle
        while low < high:
            middle = low + (high - low) // 2
            if self.marks[middle].sequence <= sequence:
                low = middle + 1
            else:
                high = middle
        return &self.marks[low - 1] if low else NULL

    cdef void describe(self, const Cursor *cursor, Described *message) noexcept nogil:
        message.queue_id = self.queue_id
        message.kind = cursor.group.kind
        message.sequence = cursor.sequence
        message.offset = message.message_offset = cursor.offset
        message.body_bytes = cursor.group.body_bytes
        if message.kind & IS_TARGET:
            message.record_bytes = RECORD_HEADER_BYTES + sizeof(TargetRecord)
            message.message_offset -= cursor.group.extra
        else:
            message.record_bytes = cursor.group.body_bytes + cursor.group.extra

    cdef bint is_sound(self) noexcept nogil:
        """Does the stream, just decoded, say what the head of the part says?"""
        cdef Reader reader
        cdef uint64_t repeat, sequence_step, offset_step
        cdef uint64_t count = 0, sequence = 0, offset = 0
        reader.at, reader.end, reader.failed = self.stream, self.stream + self.bytes, False
        while reader.at < reader.end:
            repeat = read_number(&reader) >> KIND_BITS
            sequence_step, offset_step = read_number(&reader), read_number(&reader)
            read_number(&reader)
            read_number(&reader)
            if reader.failed or repeat == 0 or sequence_step == 0 or offset_step == 0:
                return False
            count += repeat
            sequence += repeat * sequence_step
            offset += repeat * offset_step
        return count == self.count and sequence == self.last and offset == self.last_offset


cdef dict NONE_YET = {}         # of all that have none: most queues' messages never come back


cdef class Facts:
    """Everything but messages that a segment says about a queue."""

    def __cinit__(self):
        self.settled = IntervalSet()
        self.returned = self.aside = NONE_YET

    cdef int make_room_for_returned(self) except -1:
        if self.returned is NONE_YET:
            self.returned, self.aside = {}, {}
        return 0

    cdef bint says_nothing(self):
        return not (self.next_sequence or self.delivered_up_to or self.settled.count or self.returned)


cdef Facts NOTHING_BUT_GONE = Facts()
NOTHING_BUT_GONE.gone = True


# ------------------------------------------------------------------------------------------------------- a summary

cdef class Summary:
    """What a segment says."""

    def __cinit__(self):
        self.parts, self.facts, self.definitions = {}, {}, array("Q")

    cdef Part part_for(self, uint32_t queue_id, uint64_t sequence):
        cdef Part part
        cdef list parts = self.parts.get(queue_id)
        if parts is None:
            parts = self.parts[queue_id] = []
        # The first that it fits behind: of a message that stands here twice, the later one is in a later part.
        for part in parts:
            if part.last < sequence:
                return part
        part = Part(queue_id)
        parts.append(part)
        self.part_count += 1
        return part

    cdef int add(self, Part part, const Described *message, uint64_t expires_at_ms) except -1:
        self.stream_bytes += part.append(message, expires_at_ms)
        self.messages += 1
        self.message_bytes += message.record_bytes
        return 0

    cdef Facts facts_for(self, uint32_t queue_id):
        cdef Facts facts = self.facts.get(queue_id)
        if facts is None or facts is NOTHING_BUT_GONE:
            facts, known = Facts(), facts
            facts.gone = known is not None
            self.facts[queue_id] = facts
        return facts

    cdef int note_gone(self, uint32_t queue_id) except -1:
        cdef Facts facts = self.facts.get(queue_id)
        if facts is None or facts.says_nothing():
            # Of queues that come and go there are very many in a segment.
            self.facts[queue_id] = NOTHING_BUT_GONE
        else:
            facts.gone = True
        return 0

    cdef int settled(self, Facts facts, uint64_t first, uint64_t last) except -1:
        cdef Py_ssize_t before = facts.settled.count
        facts.settled.add(first, last)
        self.range_count += facts.settled.count - before
        facts.next_sequence = max(facts.next_sequence, last + 1)
        return 0

    cdef int delivered(self, Facts facts, uint64_t sequence) except -1:
        facts.delivered_up_to = max(facts.delivered_up_to, sequence)
        facts.next_sequence = max(facts.next_sequence, sequence + 1)
        return 0

    cdef int returned(self, Facts facts, uint64_t sequence, uint32_t delivery_count, uint64_t ready_at_ms) except -1:
        facts.make_room_for_returned()
        before = facts.returned.get(sequence, -1)
        if before < 0:
            self.range_count += 1
        facts.returned[sequence] = max(before, delivery_count)
        if ready_at_ms:
            self.range_count += sequence not in facts.aside
            facts.aside[sequence] = max(ready_at_ms, facts.aside.get(sequence, 0))
        facts.next_sequence = max(facts.next_sequence, sequence + 1)
        return 0

    cdef int add_definition(self, uint64_t offset, bint lists_all) except -1:
        if lists_all:
            self.definitions = array("Q")
        self.definitions.append(offset)
        return 0

    cdef int forget_facts(self) except -1:
        self.facts, self.definitions = {}, array("Q")
        self.range_count = 0
        return 0

    # --------------------------------------------------------------------------------------------- as it is stored

    cdef bytes encode(self):
        cdef bytearray octets = bytearray()
        cdef uint64_t numbers[8]
        cdef uint64_t before = 0
        cdef Part part
        cdef Facts facts
        numbers[0], numbers[1], numbers[2], numbers[3] = self.batches, self.records, self.record_octets, 0
        numbers[3] = len(self.definitions)
        append_numbers(octets, numbers, 4)
        for offset in self.definitions:
            numbers[0] = <uint64_t>offset - before
            append_numbers(octets, numbers, 1)
            before = offset
        numbers[0] = self.part_count
        append_numbers(octets, numbers, 1)
        for parts in self.parts.values():
            for part in parts:
                encode_part(part, octets)
        numbers[0] = len(self.facts)
        append_numbers(octets, numbers, 1)
        for queue_id, facts in self.facts.items():
            encode_facts(queue_id, facts, octets)
        return bytes(octets)

    cdef bint decode(self, const uint8_t *octets, size_t count, bint with_streams) except -1:
        cdef Reader reader
        cdef uint64_t offset = 0
        cdef uint64_t left
        reader.at, reader.end, reader.failed = octets, octets + count, False
        self.batches, self.records, self.record_octets = (
            read_number(&reader), read_number(&reader), read_number(&reader)
        )
        left = read_number(&reader)
        while left and not reader.failed:
            offset += read_number(&reader)
            self.definitions.append(offset)
            left -= 1
        left = read_number(&reader)
        while left and not reader.failed:
            if not decode_part(self, &reader, with_streams):
                return False
            left -= 1
        left = read_number(&reader)
        while left and not reader.failed:
            decode_facts(self, &reader)
            left -= 1
        return not reader.failed and reader.at == reader.end

    # ------------------------------------------------------------------------------------- Python's view of it

    def octets(self) -> bytes:
        return self.encode()

    def counts(self) -> dict[int, int]:
        """How many messages it has of each queue."""
        return {queue_id: sum([(<Part>part).count for part in parts]) for queue_id, parts in self.parts.items()}


cdef int encode_part(Part part, bytearray octets) except -1:
    cdef uint64_t numbers[8]
    cdef size_t bytes_before = part.bytes
    part.close_group()
    numbers[0], numbers[1], numbers[2], numbers[3] = part.queue_id, part.count, part.last, part.last_offset
    numbers[4], numbers[5], numbers[6], numbers[7] = part.record_bytes, part.expires_next_ms, part.kinds, part.bytes
    append_numbers(octets, numbers, 8)
    numbers[0] = part.expires_last_ms
    append_numbers(octets, numbers, 1)
    octets.extend((<char *>part.stream)[:part.bytes])
    # It stays open: only what stands on the disk is complete.
    part.bytes = bytes_before
    return 0


cdef int encode_facts(uint32_t queue_id, Facts facts, bytearray octets) except -1:
    cdef uint64_t numbers[4]
    cdef uint64_t before = 0
    cdef Py_ssize_t at
    numbers[0] = <uint64_t>queue_id << 1 | facts.gone
    numbers[1], numbers[2], numbers[3] = facts.next_sequence, facts.delivered_up_to, facts.settled.count
    append_numbers(octets, numbers, 4)
    for at in range(facts.settled.count):
        numbers[0] = facts.settled.at(at).first - before
        numbers[1] = facts.settled.at(at).last - facts.settled.at(at).first
        append_numbers(octets, numbers, 2)
        before = facts.settled.at(at).last
    numbers[0] = len(facts.returned)
    append_numbers(octets, numbers, 1)
    before = 0
    for sequence, delivery_count in sorted(facts.returned.items()):
        numbers[0], numbers[1] = <uint64_t>sequence - before, delivery_count
        numbers[2] = facts.aside.get(sequence, 0)
        append_numbers(octets, numbers, 3)
        before = sequence
    return 0


cdef bint decode_part(Summary summary, Reader *reader, bint with_streams) except -1:
    cdef Part part = Part(<uint32_t>read_number(reader))
    cdef uint64_t size
    part.count, part.last, part.last_offset = read_number(reader), read_number(reader), read_number(reader)
    part.record_bytes, part.expires_next_ms = read_number(reader), read_number(reader)
    part.kinds = <uint32_t>read_number(reader)
    size = read_number(reader)
    part.expires_last_ms = read_number(reader)
    if reader.failed or size > <uint64_t>(reader.end - reader.at):
        return False
    if with_streams:
        part.stream = <uint8_t *>malloc(size if size else 1)
        if part.stream == NULL:
            raise MemoryError("summary of a segment")
        memcpy(part.stream, reader.at, size)
        part.bytes = part.capacity = size
        if not part.is_sound():
            return False
    reader.at += size
    summary.parts.setdefault(part.queue_id, []).append(part)
    summary.part_count += 1
    summary.stream_bytes += part.bytes
    summary.messages += part.count
    summary.message_bytes += part.record_bytes
    return True


cdef int decode_facts(Summary summary, Reader *reader) except -1:
    cdef uint64_t queue_and_gone = read_number(reader)
    cdef uint32_t queue_id = <uint32_t>(queue_and_gone >> 1)
    cdef Facts facts = summary.facts_for(queue_id)
    cdef uint64_t first, last = 0
    cdef uint64_t left
    facts.next_sequence, facts.delivered_up_to = read_number(reader), read_number(reader)
    left = read_number(reader)
    while left and not reader.failed:
        first = last + read_number(reader)
        last = first + read_number(reader)
        facts.settled.add(first, max(first, last))
        left -= 1
    last = 0
    left = read_number(reader)
    while left and not reader.failed:
        last += read_number(reader)
        facts.make_room_for_returned()
        facts.returned[last] = read_number(reader)
        ready_at_ms = read_number(reader)
        if ready_at_ms:
            facts.aside[last] = ready_at_ms
        left -= 1
    if queue_and_gone & 1:
        summary.note_gone(queue_id)
    return 0


# ---------------------------------------------------------------------------------------------------- in file order

cdef class FileOrder:
    """Goes through all messages of a segment by offset."""

    def __cinit__(self, Summary summary):
        cdef Part part
        cdef Py_ssize_t at
        self.parts = [part for parts in summary.parts.values() for part in parts]
        self.heap = <Head *>malloc(max(1, len(self.parts)) * sizeof(Head))
        if self.heap == NULL:
            raise MemoryError("going through a segment")
        for part in self.parts:
            memset(&self.heap[self.count], 0, sizeof(Head))
            self.heap[self.count].part = <PyObject *>part
            if part.advance(&self.heap[self.count].cursor):
                self.count += 1
        for at in range(self.count // 2 - 1, -1, -1):
            self.sink(at)

    def __dealloc__(self):
        free(self.heap)

    cdef bint peek(self, Described *message) noexcept:
        if self.count == 0:
            return False
        (<Part>self.heap.part).describe(&self.heap.cursor, message)
        return True

    cdef bint next(self, Described *message) noexcept:
        cdef Head *head = self.heap
        if not self.peek(message):
            return False
        if not (<Part>head.part).advance(&head.cursor):
            self.count -= 1
            head[0] = self.heap[self.count]
        self.sink(0)
        return True

    cdef void sink(self, Py_ssize_t at) noexcept:
        cdef Head moved
        cdef Py_ssize_t child = 2 * at + 1
        if self.count < 2:
            return
        moved = self.heap[at]
        while child < self.count:
            if child + 1 < self.count and self.heap[child + 1].cursor.offset < self.heap[child].cursor.offset:
                child += 1
            if moved.cursor.offset <= self.heap[child].cursor.offset:
                break
            self.heap[at] = self.heap[child]
            at = child
            child = 2 * at + 1
        self.heap[at] = moved
