# See _message_log.pxd for what this module is and is not.

from flowmq._frame cimport FLOWMQ_CONTRACT

from flowmq._frame import check_contract

check_contract(FLOWMQ_CONTRACT)


cdef class LogSource:
    """Abstract: gives logs to queues that grow. Implemented by Journal."""

    cdef MessageLog log_for(self, object queue, uint64_t sequence):
        return None


cdef class MessageLog:
    """Abstract: what makes a queue's messages durable. Implemented by QueueLog."""

    cdef uint64_t append(self, Message *message, uint64_t sequence, uint64_t expires_at_ms) except 0:
        raise NotImplementedError("MessageLog.append")

    cdef bint append_until_restart(self, Message *message, uint64_t sequence, uint64_t expires_at_ms) except -1:
        raise NotImplementedError("MessageLog.append_until_restart")

    cdef int drop(self) except -1:
        raise NotImplementedError("MessageLog.drop")

    cdef int skip(self, uint64_t sequence) except -1:
        raise NotImplementedError("MessageLog.skip")

    cdef int settle_range(self, uint64_t first, uint64_t last) except -1:
        raise NotImplementedError("MessageLog.settle_range")

    cdef bint load(self, uint64_t sequence, Entry *entry) except -1:
        raise NotImplementedError("MessageLog.load")

    cdef int want(self) except -1:
        raise NotImplementedError("MessageLog.want")

    cdef int settle(self, uint64_t sequence, bint logged) except -1:
        raise NotImplementedError("MessageLog.settle")

    cdef int hand_out(self, uint64_t sequence) except -1:
        raise NotImplementedError("MessageLog.hand_out")

    cdef int take_back(self, uint64_t sequence, uint32_t delivery_count, uint64_t ready_at_ms) except -1:
        raise NotImplementedError("MessageLog.take_back")

    cdef bint holds(self, uint64_t sequence) noexcept:
        return False

    cdef int begin_move(self, Message *message, Py_ssize_t queues) except -1:
        raise NotImplementedError("MessageLog.begin_move")

    cdef int end_move(self) except -1:
        raise NotImplementedError("MessageLog.end_move")

    cdef uint64_t latest_commit(self) except? 0:
        raise NotImplementedError("MessageLog.latest_commit")
