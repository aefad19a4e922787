# Dead letters: where a queue's messages go that died there.
#
# A death is noted first and dealt with at the end of what led to it, so that no queue changes while it is being walked
# through: bury_some() is called by whoever called in, and at the end of every turn at the latest. What is too much for
# one turn gets turns of its own. Until then the message is in its queue's log. It leaves that together with its arrival
# in other queues, in one batch: no crash loses or doubles it.
#
# Rules of RabbitMQ: its headers are written by _deaths, and a message does not go round in a circle of queues without
# having been rejected in one of them.

from cpython.object cimport PyObject
from libc.stdint cimport uint64_t

from flowmq._heaps cimport Entry
from flowmq._message cimport Message
from flowmq._order cimport Order, Reason
from flowmq._queue cimport Queue
from flowmq._router cimport Exchange, RouteSet
from flowmq._rules cimport Undertaker

cdef struct Grave:
    # A death to be dealt with. Everything in it is owned.
    PyObject *undertaker
    PyObject *queue
    PyObject *lane
    Entry entry
    Reason reason

# Is there a death that nobody has dealt with?
cdef bint anyone_died() noexcept nogil
# Deals with deaths in their order, those that this leads to included; with `at_least` so many of them, even when they
# have been too many for one turn already: who may cause them without end pays for them.
cdef int bury_some(Py_ssize_t at_least) except -1
# With every one.
cdef int bury_all() except -1
# Now begins another turn.
cdef void end_burials_of_turn() noexcept nogil

cdef class DeadLetters(Undertaker):
    cdef readonly dict exchanges            # name -> Exchange, of the vhost
    cdef readonly bytes exchange            # None: nowhere
    cdef readonly bytes routing_key         # None: the message's own
    cdef bytes names                        # both as short strings; None: the message's own routing key
    cdef readonly object park               # called without arguments for the Queue of messages over the delivery limit
    cdef readonly object lost               # called with (queue name, why) when a message reaches no queue
    cdef readonly uint64_t moved_count      # messages that reached a queue
    cdef readonly uint64_t lost_count       # and that reached none

    # Gives up what is in the grave.
    cdef int bury_one(self, Grave *grave) except -1
    cdef int bury_as(self, Grave *grave, Message *message, list targets) except -1
    cdef bytes names_of(self, Message *message)
    cdef list targets_of(self, Grave *grave, Message *message)

cdef class Release(Undertaker):
    # For messages that were only waiting for their time: they go on as if published now, by way of that exchange.
    cdef readonly Exchange exchange
    cdef readonly object lost               # as above
    cdef int release(self, Grave *grave) except -1

# The queues of a route that still exist.
cdef list living(RouteSet routes)
