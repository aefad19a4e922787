# The flow of a client's connection: one write per turn out, and whether there is a next read.
#
# A connection is not read while its client does not take what it is owed, while its session says so, until others have
# had their turn, and while the disk is behind. Nor is it while frames that have been read already are held back: until
# an answer is given that nothing may overtake, or until there is room for what they ask for.
#
# Knows nothing of what is read: that is the affair of who derives from it (_connection).

from libc.stdint cimport uint64_t

from flowmq._journal cimport BehindShare
from flowmq._peer cimport Peer
from flowmq._sockets cimport SocketTransport

cdef enum:
    READ_BYTES_USUAL = 65536
    HELD_BACK_FACTOR = 2            # of what deliveries alone may gather

cdef class FlowingPeer(Peer):
    cdef readonly object transport
    cdef SocketTransport socket     # the same, when that is what it is
    cdef object loop
    cdef Py_ssize_t read_bytes      # at most so many are read per turn
    cdef bint between_turns
    cdef bint disk_is_behind        # not read until it has caught up
    cdef BehindShare behind_share
    cdef readonly bint held         # frames wait until an answer that waits for the disk is given
    cdef bint owing_answers         # answers wait for the disk; until they are given only what declares is dealt with
    cdef readonly bint held_for_room        # frames wait until what they ask for can be written, or for another turn
    cdef bint refill_scheduled
    cdef readonly bint owing_too_much       # not read until the client takes what it is owed
    cdef readonly bint is_reading
    cdef readonly bint told_to_stop         # not read until the session says so
    cdef readonly uint64_t sent_bytes
    cdef readonly uint64_t writes

    # Of who derives from it: deal with the frames that were held back, unless they still are.
    cdef int go_on(self) except -1
    # Of who derives from it: consumers of all channels take what waits for them.
    cdef int wake_consumers(self) except -1

    cdef int write_objects(self) except -1
    cdef int hold_back(self) except -1
    cdef int apply_reading(self) except -1
    cdef int hold_for_room(self) except -1
    cdef int adapt_read_bytes(self) except -1
    cdef int end_turn(self) except -1
    cdef int soon(self, callback) except -1
