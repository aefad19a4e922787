# Replay: reads a whole journal back (docs/format.md) and says what lives in it.
#
# Decides nothing about queues and writes nothing: it tells torn tail from corruption, and per queue which messages are
# live, in order, and where they stand. A batch counts whole or not at all. The segments are read, not mapped: a sector
# that cannot be read is an OSError then, and not the end of the process.
#
# With `trust`, of a segment that was on disk for certain only its summary is read: what else stands in it is checked
# when it is needed. Costs memory per run of live messages, and one segment while it reads.

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from flowmq._replay_queue cimport QueueHistory
from flowmq._replay_segment cimport Batch, Octets, Survey
from flowmq._summary cimport Summary

cdef struct SegmentHistory:
    uint64_t number
    uint64_t file_octets
    uint64_t end                # where its last batch ends
    uint64_t live_targets       # live messages whose record stands here, once per queue
    uint32_t seed
    uint64_t summary_at         # of the batch with its summary, and its size; 0 when there is none
    uint64_t summary_octets
    bint trusted

cdef class Replay:
    cdef readonly uint64_t batch_number         # of the last batch that counts
    cdef readonly uint64_t batch_number_seen    # the next batch needs a larger one: what was cut still stands there
    cdef readonly uint64_t end_segment          # where the journal ends; 0, 0 when there is none
    cdef readonly uint64_t end_offset
    cdef readonly uint64_t cut_octets           # torn off behind the end, as far as can be told
    cdef readonly list abandoned                # paths of segments behind the end: nothing in them was ever confirmed
    cdef readonly list skipped                  # Skipped, with skip_corrupt

    cdef list files             # Header of each segment, as in `segments_`
    cdef list summaries         # of each too: of one that was trusted without its messages
    cdef object reading         # the Header of the segment at hand
    cdef Summary summary        # and what it says so far
    cdef SegmentHistory *segments_
    cdef Py_ssize_t segments_count
    cdef dict queues_           # queue id: QueueHistory
    cdef QueueHistory latest    # the queue last looked up
    cdef list definitions_
    cdef bint skip_corrupt
    cdef uint8_t *buffer
    cdef uint64_t buffer_octets

    # None when no record names the queue.
    cdef QueueHistory queue(self, uint32_t queue_id)
    # Segment `index` < segments_count, ascending by number.
    cdef inline const SegmentHistory *segment(self, Py_ssize_t index) noexcept:
        return &self.segments_[index]

    cdef list usable(self, list headers)
    cdef int check_links(self, list headers) except -1
    cdef int64_t salvage(self, list headers, Py_ssize_t index) except -2
    cdef bint vouched_for(self, uint64_t number, uint64_t at, list headers) except -1
    cdef bint survey_of(self, object header, Octets *segment, Survey *seen) except -1
    cdef int abandon(self, list headers) except -1
    cdef int load(self, object header, uint64_t octets, Octets *into) except -1
    cdef int read_segment(self, Py_ssize_t index, uint64_t sealed_at) except -1
    cdef uint64_t go_on(self, Octets *segment, Batch *batch, Py_ssize_t index, uint64_t sealed_at) except? 0
    cdef uint64_t skip(self, Batch *batch, uint64_t until) except? 0
    cdef int choose_trusted(self) except -1
    cdef Summary stored_summary(self, Py_ssize_t index, Batch *batch, bint with_streams)
    cdef Summary whole_summary(self, Py_ssize_t index)
    cdef int take_summary(self, Py_ssize_t index) except -1
    cdef int take_definition(self, Py_ssize_t index, uint64_t offset) except -1
    cdef int add_facts(self, Summary summary) except -1
    cdef int apply(self, Octets *segment, Batch *batch, SegmentHistory *history) except -1
    cdef int apply_record(self, Octets *segment, uint64_t at) except -1
    cdef int apply_message(self, Octets *segment, uint64_t at, uint64_t message_at) except -1
    cdef int apply_target(self, Octets *segment, uint64_t at) except -1
    cdef int apply_state(self, const uint8_t *payload) except -1
    cdef int check_summary(self, Octets *segment, uint64_t at) except -1
    cdef bint was_skipped(self, uint64_t number, uint64_t at) except -1
    cdef QueueHistory history(self, uint32_t queue_id)
    cdef int find_live(self) except -1
    cdef uint64_t live_octets(self, Py_ssize_t index) except? 0xFFFFFFFF
