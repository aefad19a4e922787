# What the load generator is made of: its limits, and a struct per role of a connection.
#
# A declaration file only to keep _load.pyx readable; nothing else may cimport it.

from libc.stdint cimport int64_t, uint8_t, uint64_t

cdef enum:
    STAMP_BYTES = 16
    SEQUENCE_BITS = 48
    ACK_FRAME_BYTES = 21
    INBOX_BYTES = 524288        # one recv at most, and more than the largest frame
    ACKS_BYTES = 524288
    ACKS_BYTES_FULL = 262144    # above it a consumer reads no further: one read can yield that many octets more
    PACED_READ_BYTES = 16384    # what a slow consumer reads at a tick
    SENDS_PER_TURN = 16
    OCTETS_PER_TURN = 262144
    EVENTS_PER_WAIT = 256
    SLICE_MS_MAX = 100          # how long a signal such as ^C may wait
    TIMER_KEY = 0xFFFFFFFF
    TROUBLE_BYTES = 512

cdef enum Expected:
    METHOD_NEXT
    HEADER_NEXT
    BODY_NEXT

cdef struct Publisher:
    char *images            # the publishes one after the other, exactly as they are sent
    size_t *starts          # where each begins, and one more: where the last ends
    size_t *stamps          # where in `images` each body begins
    Py_ssize_t image_count
    Py_ssize_t image_next
    Py_ssize_t batch        # publishes per send
    uint64_t index
    uint64_t published      # also the next sequence number
    uint64_t window         # publishes that may wait for their confirm; 0: no confirms
    uint64_t confirmed
    uint64_t oldest         # every publish before this one is confirmed
    uint8_t *confirms       # ring by sequence number: 1 when confirmed
    uint64_t *sent_ns       # ring by sequence number: when its batch was sent
    uint64_t confirms_mask
    bint paced              # at a limited rate, if there is one
    uint64_t due            # if paced: publishes whose time has come
    uint64_t seen_bits      # the room in each group's bitmap of this publisher

cdef struct Consumer:
    Py_ssize_t group
    uint64_t ack_every      # 0: auto-ack
    bint paced              # reads a little at each tick and no more, while messages are published
    bint due                # if paced: its time has come
    uint64_t unacked
    uint64_t delivery_tag   # the last one
    Py_ssize_t lanes        # queues it consumes from; with several, the consumer tag of each is its number from 0
    Py_ssize_t lane         # the last delivery's
    int64_t *last           # by lane and publisher: the highest sequence number seen here
    char *acks
    size_t acks_bytes

cdef struct Link:
    # One connection with its one channel; either a publisher or a consumer.
    int descriptor
    bint readable
    bint writable
    bint hung               # the other side has closed: read what is left, whatever the edges say
    char *inbox
    size_t inbox_bytes
    Expected expected
    bint returned           # the content being read came back with basic.return
    bint stamp_read
    uint64_t body_left
    const char *outgoing    # a publisher's unsent rest of a batch
    size_t outgoing_bytes
    Publisher *publisher
    Consumer *consumer
