# Publishes that are held back while an alarm is in force: taken in and routed, but in no queue yet.
#
# One line for the whole process, in the order in which they came. Those of a connection or a channel that ends
# meanwhile go on all the same when the alarm is over. Each connection may have so many octets here. Whatever it
# publishes beyond that is refused where its channel asked for confirms and refusing is what was set; otherwise it is
# held too, and whoever reads the connection is to stop (Peer.holds_too_much).

from libc.stdint cimport uint64_t

from flowmq._channel cimport Channel
from flowmq._message cimport Message
from flowmq._router cimport Exchange, RouteSet

# Takes over the reference to the message. `sequence` is its number among the confirms, 0 without.
cdef int hold_back_publish(Channel channel, Message *message, Exchange exchange, RouteSet routes,
                           uint64_t expires_at_ms, bint mandatory, uint64_t sequence) except -1
cdef uint64_t held_message_bytes() noexcept nogil
