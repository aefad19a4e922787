# See _replay_segment.pxd for what this module is and is not.

from libc.string cimport memcmp, memset

from flowmq._checksum cimport crc32c
from flowmq._frame cimport FLOWMQ_CONTRACT

import os
from typing import NamedTuple

from flowmq._frame import check_contract
from flowmq.storage.layout import StorageError

check_contract(FLOWMQ_CONTRACT)

cdef extern from "string.h" nogil:
    void *memmem(const void *haystack, size_t haystack_octets, const void *needle, size_t needle_octets)

cdef extern from * nogil:
    """
    /* Which seed lets octets with this checksum have begun: CRC run backwards, one bit at a time. */
    static uint32_t replay_seed_of(uint32_t checksum, const uint8_t *octets, size_t count) {
        uint32_t state = ~checksum;
        while (count--) {
            for (int bit = 0; bit < 8; bit++)
                state = state & 0x80000000u ? ((state ^ 0x82F63B78u) << 1) | 1 : state << 1;
            state ^= octets[count];
        }
        return ~state;
    }
    """
    uint32_t replay_seed_of(uint32_t checksum, const uint8_t *octets, size_t count)


class Header(NamedTuple):
    number: int
    file: object
    file_octets: int
    seed: int
    previous: int
    previous_end: int
    previous_summary: int
    fault: str | None


def read_header(number, file):
    """What the header of a segment says; with a fault where it does not check."""
    descriptor = file if isinstance(file, int) else os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        octets, file_octets = os.pread(descriptor, HEADER_OCTETS, 0), os.fstat(descriptor).st_size
    finally:
        if descriptor is not file:
            os.close(descriptor)
    fields = [int.from_bytes(octets[at:at + size], "little") for at, size in ((12, 4), (24, 8), (32, 8), (48, 8))]
    return Header(number, file, file_octets, *fields, fault=header_fault(octets, number, file_octets))


cdef str header_fault(bytes octets, uint64_t number, uint64_t file_octets):
    cdef const uint8_t *header = <const uint8_t *>octets
    if len(octets) < HEADER_OCTETS:
        return "the file is shorter than a header"
    if memcmp(header, b"FLOWMQ\x00\x01", 8) != 0 or crc32c(0, header, 60) != replay_u32(header + 60):
        return "the header of the segment does not check"
    if replay_u32(header + 8) != FORMAT_VERSION:
        raise StorageError(f"segment {number:016x}: has format version {replay_u32(header + 8)}, not {FORMAT_VERSION}")
    if replay_u64(header + 16) != number:
        return f"the header says that this is segment {replay_u64(header + 16):016x}"
    if replay_u64(header + 24) >= number or (replay_u64(header + 24) and replay_u64(header + 32) < HEADER_OCTETS):
        return "the header says nothing sensible about the segment before it"
    return None


def read_at(file, offset, count):
    """So many octets from there, or as many as there are."""
    descriptor = file if isinstance(file, int) else os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.pread(descriptor, count, offset)
    finally:
        if descriptor is not file:
            os.close(descriptor)


def read_into(file, view):
    """As many octets from the file's start as the view holds, or the file has."""
    descriptor = file if isinstance(file, int) else os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        done = 0
        while done < len(view) and (count := os.preadv(descriptor, [view[done:]], done)):
            done += count
        return done
    finally:
        if descriptor is not file:
            os.close(descriptor)


# ------------------------------------------------------------------------------------------------------- batches

cdef bint head_checks(const Octets *segment, uint64_t at, Batch *batch) noexcept nogil:
    cdef const uint8_t *head = segment.start + at
    if at > segment.size or segment.size - at < BATCH_HEAD_OCTETS or memcmp(head, b"BTCH", 4) != 0:
        return False
    if crc32c(segment.seed, head + 8, BATCH_HEAD_OCTETS - 8) != replay_u32(head + 4):
        return False
    batch.at = at
    batch.number = replay_u64(head + 8)
    batch.end = at + BATCH_HEAD_OCTETS + replay_u32(head + 16)
    batch.records = replay_u32(head + 20)
    batch.durable_segment = replay_u64(head + 24)
    batch.durable_offset = replay_u64(head + 32)
    return True


cdef void fail(Batch *batch, const char *fault, uint64_t at, bint written_so) noexcept nogil:
    batch.fault = fault
    batch.fault_at = at
    batch.written_so = written_so


cdef bint record_checks(const Octets *segment, uint64_t at, uint64_t end) noexcept nogil:
    cdef const uint8_t *record = segment.start + at
    cdef uint32_t checksum
    if end - at < RECORD_HEAD_OCTETS or end - at - RECORD_HEAD_OCTETS < replay_u32(record):
        return False
    checksum = crc32c(segment.seed, record, 4)
    checksum = crc32c(checksum, record + 8, RECORD_HEAD_OCTETS - 8 + <size_t>replay_u32(record))
    return checksum == replay_u32(record + 4)


cdef void check_batch(const Octets *segment, uint64_t at, uint64_t number_before, Batch *batch) noexcept nogil:
    cdef uint64_t record, count = 0
    cdef const char *fault
    memset(batch, 0, sizeof(Batch))
    batch.at = at
    batch.end = at
    if not head_checks(segment, at, batch):
        fail(batch, b"no batch with a valid head begins here", at, False)
        return
    if batch.number <= number_before:
        fail(batch, b"the number of this batch is not larger than that of the batch before it", at, False)
        return
    if batch.end > segment.size:
        fail(batch, b"the batch goes beyond the end of its segment", at, False)
        return
    record = at + BATCH_HEAD_OCTETS
    while record < batch.end:
        if not record_checks(segment, record, batch.end):
            fail(batch, b"the checksum of a record does not fit", record, False)
            return
        fault = complaint_about(segment, record)
        if fault != NULL:
            fail(batch, fault, record, True)
            return
        record += RECORD_HEAD_OCTETS + replay_u32(segment.start + record)
        count += 1
    if count != batch.records:
        fail(batch, b"the batch does not hold as many records as its head says", at, True)


cdef const char *complaint_about(const Octets *segment, uint64_t at) noexcept nogil:
    # Of a record whose checksum fits: why its payload makes no sense, or NULL.
    cdef int kind = segment.start[at + 8]
    if kind > RECORD_ASIDE:
        return b"a record of a type unknown to this version"
    if payload_makes_sense(kind, segment.start + at + RECORD_HEAD_OCTETS, replay_u32(segment.start + at), at):
        return NULL
    if kind == RECORD_MESSAGE:
        return b"a message whose sizes contradict each other"
    if kind == RECORD_TARGET:
        return b"a target whose message cannot be where it says"
    if kind == RECORD_SETTLED or kind == RECORD_STATE:
        return b"a settled record or queue state that makes no sense"
    return b"a record of a wrong size for its type"


cdef bint payload_makes_sense(int kind, const uint8_t *payload, uint64_t octets, uint64_t at) noexcept nogil:
    if kind == RECORD_MESSAGE:
        return message_makes_sense(payload, octets)
    if kind == RECORD_TARGET:
        return octets == TARGET_OCTETS and HEADER_OCTETS <= replay_u64(payload + 32) < at
    if kind == RECORD_SETTLED:
        return octets == 24 and replay_u64(payload + 8) <= replay_u64(payload + 16)
    if kind == RECORD_STATE:
        return state_makes_sense(payload, octets)
    if kind == RECORD_DELIVERED or kind == RECORD_RETURNED:
        return octets == 16
    if kind == RECORD_ASIDE:
        return octets == 24
    return octets == 8 if kind == RECORD_GONE else True


cdef bint message_makes_sense(const uint8_t *payload, uint64_t octets) noexcept nogil:
    cdef uint64_t names, behind
    if octets < MESSAGE_FIXED_OCTETS:
        return False
    names = replay_u32(payload + 28)
    behind = octets - MESSAGE_FIXED_OCTETS
    if replay_u64(payload + 40) > behind or names + replay_u32(payload + 32) + replay_u64(payload + 40) != behind:
        return False
    payload += MESSAGE_FIXED_OCTETS
    return names >= 2 and payload[0] <= names - 2 and 2 + <uint64_t>payload[0] + payload[1 + payload[0]] == names


cdef bint state_makes_sense(const uint8_t *payload, uint64_t octets) noexcept nogil:
    cdef uint64_t _range
    if octets < STATE_FIXED_OCTETS or STATE_FIXED_OCTETS + 16 * <uint64_t>replay_u32(payload + 4) != octets:
        return False
    for _range in range(replay_u32(payload + 4)):
        payload += 16
        if replay_u64(payload + 8) > replay_u64(payload + 16):
            return False
    return True


cdef bint is_message(const Octets *segment, uint64_t at, uint64_t until) noexcept nogil:
    cdef const uint8_t *record = segment.start + at
    if at > until or until - at < RECORD_HEAD_OCTETS or record[8] != RECORD_MESSAGE:
        return False
    if replay_u32(record) > until - at - RECORD_HEAD_OCTETS:
        return False
    return message_makes_sense(record + RECORD_HEAD_OCTETS, replay_u32(record))


cdef Survey survey(const Octets *segment, uint64_t begin, uint64_t number_before) noexcept nogil:
    cdef Survey seen
    cdef Batch batch
    cdef uint64_t at = next_magic(segment, begin)
    memset(&seen, 0, sizeof(seen))
    while at < segment.size:
        if head_checks(segment, at, &batch):
            if batch.number > number_before:
                seen.end = max(seen.end, min(batch.end, segment.size))
                seen.highest_number = max(seen.highest_number, batch.number)
            if batch.durable_segment < segment.number:
                note_durable(&seen, batch.durable_segment, batch.durable_offset)
            elif batch.durable_segment == segment.number:
                note_durable(&seen, segment.number, min(batch.durable_offset, at))
        at = next_magic(segment, at + 1)
    return seen


cdef void note_durable(Survey *seen, uint64_t number, uint64_t offset) noexcept nogil:
    if number > seen.durable_segment or (number == seen.durable_segment and offset > seen.durable_offset):
        seen.durable_segment, seen.durable_offset = number, offset


cdef bint vouches(const Survey *seen, uint64_t number, uint64_t at) noexcept nogil:
    return seen.durable_segment > number or (seen.durable_segment == number and seen.durable_offset > at)


cdef bint has_torn_head(const Octets *segment, uint64_t at, uint64_t number_before) noexcept nogil:
    # What the file held before it was recycled has older numbers.
    cdef Batch batch
    if segment.size - at < 16 or memcmp(segment.start + at, b"BTCH", 4) != 0 or head_checks(segment, at, &batch):
        return False
    return replay_u64(segment.start + at + 8) > number_before


cdef uint64_t next_magic(const Octets *segment, uint64_t begin) noexcept nogil:
    cdef void *found
    if begin >= segment.size:
        return segment.size
    found = memmem(segment.start + begin, segment.size - begin, b"BTCH", 4)
    return segment.size if found == NULL else <uint64_t>(<const uint8_t *>found - segment.start)


cdef uint64_t next_good(const Octets *segment, uint64_t begin, uint64_t number_before) noexcept nogil:
    cdef Batch batch
    cdef uint64_t at = next_magic(segment, begin)
    while at < segment.size:
        check_batch(segment, at, number_before, &batch)
        if batch.fault == NULL:
            return at
        at = next_magic(segment, at + 1)
    return 0


cdef bint find_seed(Octets *segment, uint32_t claimed) noexcept nogil:
    cdef const uint8_t *first = segment.start + HEADER_OCTETS
    cdef Batch batch
    segment.seed = claimed
    if survey(segment, HEADER_OCTETS, 0).end:
        return True
    if segment.size < HEADER_OCTETS + BATCH_HEAD_OCTETS or memcmp(first, b"BTCH", 4) != 0:
        return False
    segment.seed = replay_seed_of(replay_u32(first + 4), first + 8, BATCH_HEAD_OCTETS - 8)
    check_batch(segment, HEADER_OCTETS, 0, &batch)
    # The head fits by construction: its records must, or a head further on.
    return (batch.fault == NULL and batch.records > 0) or survey(segment, HEADER_OCTETS + 1, 0).end > 0
