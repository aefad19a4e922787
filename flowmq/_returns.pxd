# Returns: what channels held unacknowledged when they ended, on its way back to its queues.
#
# It goes back in pieces, so that a channel that held a hundred thousand messages keeps nobody waiting. Each piece is
# the oldest of what is left. Until a message is back it counts as unacknowledged. A queue that more than one piece
# goes to serves no consumers meanwhile (Queue.hold), or the first that are back could be delivered behind others.
#
# Does not know when the next piece is due: whoever made it calls step() until there is no more.

from flowmq._delivery cimport UnackedWindow
from flowmq._queue cimport Queue

cdef class Returns:
    cdef list windows           # of each channel that ended, the next one last
    cdef dict touched           # the queues to which something has come back, each once -> is it held?
    cdef bint in_pieces         # something else has had a turn since the first piece
    cdef set blamed             # consumers of the window that is dealt with which have had their failure

    # What a channel held that has ended; whoever held it failed.
    cdef int add(self, UnackedWindow window) except -1
    cdef int touch(self, Queue queue) except -1
    cdef Py_ssize_t give_back(self, UnackedWindow window, Py_ssize_t limit) except -1
    cdef bint give_some_back(self, Py_ssize_t limit) except? True
    cdef int finish(self) except -1
