# See _verification.pxd for what this module is and is not.

import os

from libc.stdint cimport uint8_t

from flowmq._frame cimport FLOWMQ_CONTRACT
from flowmq._replay_segment cimport BATCH_HEAD_OCTETS, HEADER_OCTETS, Batch, Octets, check_batch, replay_u32

from flowmq._frame import check_contract

check_contract(FLOWMQ_CONTRACT)

cdef enum:
    STEP_OCTETS = 262144        # read in one step, unless a batch is larger


cdef class Verification:
    """Reads again what a start took on trust."""

    def __init__(self, Journal journal):
        cdef Segment segment
        self.journal = journal
        self.left = [segment for segment in journal.segments.values() if segment.trusted]
        self.left.reverse()

    def step(self) -> bool:
        cdef Segment segment
        if not self.left:
            return False
        segment = self.left[len(self.left) - 1]
        if self.at == 0:
            self.at = HEADER_OCTETS
            self.batch_number = 0
        if self.journal.segments.get(segment.number) is not segment:
            # It is free by now.
            self.at = segment.end
        else:
            self.at = self.check_batches(segment)
        if self.at >= segment.end:
            self.left.pop()
            self.at = 0
        return bool(self.left)

    cdef uint64_t check_batches(self, Segment segment) except? 0:
        """As many as fit. Where to go on; at the end of the segment when something does not check."""
        cdef Octets octets
        cdef Batch batch
        cdef uint64_t at = self.at
        cdef bytes content
        try:
            content = os.pread(segment.fd, STEP_OCTETS, at)
            if len(content) >= BATCH_HEAD_OCTETS:
                # Its head is not checked yet; no batch is larger than its segment.
                wanted = BATCH_HEAD_OCTETS + <uint64_t>replay_u32(<const uint8_t *>content + 16)
                if STEP_OCTETS < wanted <= segment.end - at:
                    content = os.pread(segment.fd, wanted, at)
            os.posix_fadvise(segment.fd, at + len(content), STEP_OCTETS, os.POSIX_FADV_WILLNEED)
        except OSError as error:
            self.journal.damage_found(segment, f"{segment.path}: cannot be read at {at}: {error.strerror}")
            return segment.end
        # Offsets in the segment, of which this is a piece.
        octets.start = <const uint8_t *>content - at
        octets.size = min(at + <uint64_t>len(content), segment.end)
        octets.number, octets.seed = segment.number, segment.seed
        while at < segment.end:
            check_batch(&octets, at, self.batch_number, &batch)
            if batch.fault != NULL:
                if at > self.at and octets.size < segment.end:
                    # It may only go on behind this piece: the next one begins with it.
                    break
                what = f"{segment.path}: corrupt at offset {batch.fault_at}: {batch.fault.decode()}"
                self.journal.damage_found(segment, what)
                return segment.end
            self.batch_number = batch.number
            at = batch.end
        self.checked_octets += at - self.at
        return at
