# See _flow.pxd for what this module is and is not.

from libc.stdint cimport uint16_t
from libc.string cimport memcpy

from flowmq._busy_poll cimport want_loop
from flowmq._channel cimport Channel
from flowmq._clock cimport tell_time
from flowmq._frame cimport FLOWMQ_CONTRACT, FRAME_METHOD, output_frame, output_reserve, output_take
from flowmq._peer cimport begin_turn, flush_dirty

from flowmq._frame import check_contract

check_contract(FLOWMQ_CONTRACT)

cdef enum:
    READ_BYTES_MIN = 8192


cdef class FlowingPeer(Peer):
    """A peer with a transport."""

    # ------------------------------------------------------------------------------------ called by the transport

    def pause_writing(self):
        self.paused = True
        if self.transport is not None:
            self.count_left(self.transport.get_write_buffer_size())

    def resume_writing(self):
        self.paused = False
        self.count_left(0)
        self.owing_too_much = False
        self.apply_reading()
        self.mark_dirty()
        if self.held_for_room:
            self.soon(self.look_for_room)
        if self.starved:
            self.refill()

    # -------------------------------------------------------------------------------------- called by the session

    @property
    def outgoing_bytes(self) -> int:
        """Octets that the client has not taken from us yet, the transport's own included."""
        waiting = self.waiting_bytes()
        if self.transport is not None:
            waiting += self.transport.get_write_buffer_size()
        return waiting

    def stop_reading(self):
        self.told_to_stop = True
        self.apply_reading()

    def resume_reading(self):
        self.told_to_stop = False
        self.apply_reading()

    def hold(self):
        """Deal with no further frame until release(): its answer could overtake one that has to wait."""
        self.held = True
        self.apply_reading()

    def hold_all_but_declarations(self):
        """Until release(): clients declare in bulk without waiting, and one sync of the disk serves many of them."""
        self.owing_answers = True

    def release(self):
        self.held = self.owing_answers = False
        self.go_on()

    def send(self, uint16_t number, bytes payload):
        """A method frame."""
        output_frame(&self.output, FRAME_METHOD, number, payload, len(payload))
        self.mark_dirty()

    def send_octets(self, bytes octets):
        memcpy(output_reserve(&self.output, len(octets)), <const char *>octets, len(octets))
        self.output.used += len(octets)
        self.mark_dirty()

    # ---------------------------------------------------------------------------------------------------- writing

    cdef int flush(self) except -1:
        cdef Channel channel
        if self.paused and self.transport is not None:
            return self.hold_back()
        if self.owing is not None:
            for channel in self.owing:
                channel.tell_confirms()
            self.owing = None
        if self.output.used == 0:
            return 0
        if self.transport is None:
            return self.forget_output()
        self.sent_bytes += self.waiting_bytes()
        self.writes += 1
        if self.parts is None and self.socket is not None:
            self.socket.write_output(&self.output)
        else:
            self.write_objects()
        if self.starved and not self.paused and not self.refill_scheduled:
            # There is room again and nobody will say so: the transport only tells when it had been full.
            self.refill_scheduled = True
            self.soon(self.refill)
        return 0

    cdef int write_objects(self) except -1:
        cdef list parts = self.parts
        octets = output_take(&self.output)
        if parts is None:
            self.transport.write(octets)
            return 0
        self.forget_output()
        parts.append(octets)
        if self.socket is not None:
            return self.socket.write_parts(parts)
        self.transport.writelines(parts)
        return 0

    cdef int hold_back(self) except -1:
        """The transport is full: what is owed waits here, and who lets too much of it gather is not read any more."""
        if self.waiting_bytes() > HELD_BACK_FACTOR * self.outgoing_bytes_max:
            self.owing_too_much = True
            self.apply_reading()
        return 0

    def refill(self):
        """Consumers that were refused for want of room take what waits for them."""
        self.refill_scheduled = False
        if self.paused or not self.starved or self.closing:
            return
        self.starved = False
        tell_time()
        begin_turn()
        try:
            self.wake_consumers()
        finally:
            flush_dirty()

    # ---------------------------------------------------------------------------------------------------- reading

    cdef int apply_reading(self) except -1:
        cdef bint wanted = not (
            self.owing_too_much or self.told_to_stop or self.between_turns or self.held or self.held_for_room
            or self.disk_is_behind
        )
        if self.transport is None or wanted == self.is_reading:
            return 0
        self.is_reading = wanted
        if wanted:
            self.transport.resume_reading()
        else:
            self.transport.pause_reading()
        return 0

    cdef int hold_for_room(self) except -1:
        """One read can ask for more than memory should hold, or others should wait for: the rest of it is for later."""
        self.held_for_room = True
        self.apply_reading()
        self.soon(self.look_for_room)
        return 0

    def look_for_room(self):
        # While the transport is full resume_writing() calls this again.
        if self.held_for_room and not self.paused:
            self.held_for_room = False
            self.go_on()

    cdef int adapt_read_bytes(self) except -1:
        """How much of a publisher is read per turn: less while queues with consumers grow.

        The acknowledgements that make room for deliveries only come in turns of their own, so that a publisher whose
        turns are long fills queues that a consumer could keep empty.
        """
        if self.backing_up:
            self.backing_up = 0
            self.read_bytes = max(self.read_bytes // 2, <Py_ssize_t>READ_BYTES_MIN)
        elif self.read_bytes < READ_BYTES_USUAL:
            self.read_bytes *= 2
        return 0

    cdef int end_turn(self) except -1:
        """A full read: the event loop would go on reading this connection, many times before it turns to others."""
        if self.is_reading and self.transport is not None:
            self.between_turns = True
            self.apply_reading()
            self.soon(self.begin_next_turn)
        return 0

    def begin_next_turn(self):
        self.between_turns = False
        self.apply_reading()

    def disk_has_caught_up(self, failed):
        self.disk_is_behind = False
        self.apply_reading()

    cdef int soon(self, callback) except -1:
        self.loop.call_soon(callback)
        want_loop()
        return 0

    cdef int go_on(self) except -1:
        raise NotImplementedError

    cdef int wake_consumers(self) except -1:
        raise NotImplementedError
