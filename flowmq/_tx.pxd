# tx.commit: what a transaction has staged happens, publishes in their order, then settlements.
#
# A transaction of which something has to be in the journal happens as a whole, in one turn, and its records are one
# batch: a crash leaves all of it or nothing. Any other is nothing that a
# crash could tear apart: it happens piece by piece, so that a hundred thousand publishes keep nobody waiting. Whoever
# commits is answered when all of it has happened, and nothing else of that channel is dealt with before.
#
# Does not know when the next piece is due: whoever begins calls commit_more() until there is no more, then
# end_commit(), also when the channel is closed meanwhile.

from libc.stdint cimport uint64_t

from flowmq._channel cimport Channel
from flowmq._journal cimport Journal
from flowmq._transaction cimport StagedPublish, StagedSettlement, Transaction

cdef int commit_some(Channel channel, Transaction staged, Py_ssize_t limit) except -1
cdef int commit_whole(Channel channel, Transaction staged) except -1
# What its records may take in the journal.
cdef uint64_t record_bytes_of(Transaction staged, Journal journal) except? 0
# Publishes are dropped, deliveries unacknowledged again, and queues deliver again.
cdef int give_up(Channel channel, Transaction staged) except -1
cdef int publish_staged(Channel channel, Transaction staged, StagedPublish *publish) except -1
cdef int settle_staged(Transaction staged, StagedSettlement *settlement) except -1
