# See _frame.pxd for what this module is and is not.

from cpython.buffer cimport PyBuffer_FillInfo
from cpython.ref cimport Py_DECREF, Py_XDECREF
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

cdef extern from "Python.h":
    PyObject *new_bytes "PyBytes_FromStringAndSize"(const char *data, Py_ssize_t size) except NULL
    int _PyBytes_Resize(PyObject **storage, Py_ssize_t size) except -1
    char *bytes_data "PyBytes_AS_STRING"(PyObject *storage)

cdef Py_ssize_t output_capacities = 0

cdef enum:
    OUTPUT_BYTES_MIN = 480           # small answers stay in the interpreter's own small-object allocator
    OUTPUT_USUAL_BYTES_MAX = 262144


def check_contract(bytes contract):
    """Refuse to run beside a module that was compiled against other .pxd files.

    A stale extension reads fields at wrong offsets and corrupts memory silently; better not to start.
    """
    if contract != <bytes>FLOWMQ_CONTRACT:
        raise ImportError(
            "FlowMQ's compiled modules are of different builds: rebuild them all (make build, or pip install again)"
        )


# ---------------------------------------------------------------------------------------------------- writing

cdef int output_grow(OutputBuffer *output, Py_ssize_t more) except -1:
    cdef Py_ssize_t capacity
    if output.storage == NULL:
        capacity = max(more, max(output.usual_bytes, <Py_ssize_t>OUTPUT_BYTES_MIN))
        output.storage = new_bytes(NULL, capacity)
    else:
        capacity = max(output.used + more, output.capacity * 2)
        try:
            _PyBytes_Resize(&output.storage, capacity)
        except MemoryError:
            # The old octets are gone with the failed call: forget them too, so that nothing half-sent follows.
            output.data = NULL
            count_output(output, 0)
            output.used = 0
            raise
    output.data = bytes_data(output.storage)
    count_output(output, capacity)
    return 0


cdef void count_output(OutputBuffer *output, Py_ssize_t capacity) noexcept:
    global output_capacities
    output_capacities += capacity - output.capacity
    output.capacity = capacity


cdef Py_ssize_t output_bytes_alive() noexcept nogil:
    return output_capacities


cdef void count_taken_output(Py_ssize_t change) noexcept nogil:
    global output_capacities
    output_capacities += change


cdef object output_take(OutputBuffer *output):
    """All gathered octets as one bytes object; the buffer is empty afterwards."""
    cdef PyObject *storage = output.storage
    cdef Py_ssize_t used = output.used
    if storage == NULL:
        return b""
    output.storage = NULL
    output.data = NULL
    output.used = 0
    count_output(output, 0)
    note_usual(output, used)
    if used != len(<bytes>storage):
        _PyBytes_Resize(&storage, used)
    taken = <object>storage
    Py_DECREF(taken)
    return taken


cdef void note_usual(OutputBuffer *output, Py_ssize_t used) noexcept:
    # Follows a growing need at once and a shrinking one slowly, so that a steady flow allocates once per write.
    output.usual_bytes = min(max(used + (used >> 3), output.usual_bytes - (output.usual_bytes >> 3)),
                             <Py_ssize_t>OUTPUT_USUAL_BYTES_MAX)


cdef void output_sent(OutputBuffer *output) noexcept:
    note_usual(output, output.used)
    output_clear(output)


cdef void output_clear(OutputBuffer *output) noexcept:
    Py_XDECREF(output.storage)
    output.storage = NULL
    output.data = NULL
    output.used = 0
    count_output(output, 0)


cdef int output_frame(OutputBuffer *output, uint8_t kind, uint16_t channel, const char *payload,
                      Py_ssize_t payload_bytes) except -1:
    cdef char *at = output_reserve(output, payload_bytes + FRAME_OVERHEAD_BYTES)
    at = put_frame_prefix(at, kind, channel, <uint32_t>payload_bytes)
    memcpy(at, payload, payload_bytes)
    at[payload_bytes] = <char>FRAME_END
    output.used += payload_bytes + FRAME_OVERHEAD_BYTES
    return 0


cdef int output_confirm(OutputBuffer *output, uint16_t channel, uint64_t delivery_tag, bint multiple,
                        bint positive) except -1:
    """basic.ack (60, 80) or basic.nack (60, 120) to a publisher."""
    cdef char *start = output_reserve(output, FRAME_OVERHEAD_BYTES + 13)
    cdef char *at = put_frame_prefix(start, FRAME_METHOD, channel, 13)
    store_short(at, 60)
    store_short(at + 2, 80 if positive else 120)
    store_long_long(at + 4, delivery_tag)
    at[12] = <char>multiple
    at[13] = <char>FRAME_END
    output.used += FRAME_OVERHEAD_BYTES + 13
    return 0


# -------------------------------------------------------------------------------------------- the read buffer

cdef class ReadBuffer:
    """The one buffer that all connections of a process read into; exports its current window, writable."""

    def __cinit__(self):
        self.data = <char *>malloc(UNFINISHED_BYTES_MAX + READ_BUFFER_BYTES)
        if self.data == NULL:
            raise MemoryError("the read buffer")
        self.offset = UNFINISHED_BYTES_MAX
        self.limit = READ_BUFFER_BYTES

    def __dealloc__(self):
        free(self.data)

    def __len__(self):
        return self.limit

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, self.data + self.offset, self.limit, False, flags)
