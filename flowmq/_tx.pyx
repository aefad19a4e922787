# See _tx.pxd for what this module is and is not.

from cpython.pyport cimport PY_SSIZE_T_MAX
from libc.stdint cimport uint64_t

from flowmq._dead_letters cimport anyone_died, bury_all, bury_some
from flowmq._frame cimport FLOWMQ_CONTRACT
from flowmq._journal cimport Journal
from flowmq._peer cimport current_journal
from flowmq._queue cimport Queue, publish_refused
from flowmq._records cimport PENDING_RECORDS_BYTES, RECORD_HEADER_BYTES, MessageRecord, RangeRecord, TargetRecord
from flowmq._rewrite cimport exchange_of
from flowmq._returns cimport Returns
from flowmq._router cimport Exchange, RouteSet
from flowmq._rules cimport Deduplication
from flowmq._settlement cimport settle_delivery
from flowmq._transaction cimport FAILED, REQUEUED, release_publish

from flowmq._frame import check_contract
from flowmq.amqp.errors import PreconditionFailed

check_contract(FLOWMQ_CONTRACT)

cdef enum:
    DESCRIBED_BYTES = 16        # what the summary of a segment may say of one record, generously
    MOVED_BYTES_MAX = 1073741824    # what is larger has more than one batch


def begin_commit(Channel channel not None):
    """What is to be committed. What the channel stages from now on is not part of it."""
    cdef Transaction staged = channel.staged()
    channel.transaction = Transaction()
    staged.window = channel.window
    return staged


def commit_more(Channel channel not None, Transaction staged not None, Py_ssize_t limit) -> bool:
    """So much more of it; is there still more? After an error of ours what has not happened does not happen."""
    try:
        if staged.is_durable and current_journal() is not None:
            commit_whole(channel, staged)
        else:
            commit_some(channel, staged, limit)
    except Exception:
        give_up(channel, staged)
        raise
    return not staged.is_over()


cdef int give_up(Channel channel, Transaction staged) except -1:
    cdef Returns returns
    staged.drop_publishes()
    staged.restore_settlements(staged.window)
    if channel.closing:
        # Its window has gone back without them.
        returns = Returns()
        returns.add(staged.window)
        returns.step(PY_SSIZE_T_MAX)
    return staged.let_go()


cdef int commit_some(Channel channel, Transaction staged, Py_ssize_t limit) except -1:
    while limit > 0 and staged.published < staged.publishes_count:
        limit -= 1
        publish_staged(channel, staged, staged.next_publish())
    while limit > 0 and staged.settled < staged.settlements_count:
        limit -= 1
        settle_staged(staged, staged.next_settlement())
    if anyone_died():
        bury_some(0)
    return 0


cdef int commit_whole(Channel channel, Transaction staged) except -1:
    cdef Journal journal = current_journal()
    journal.begin_move(min(record_bytes_of(staged, journal), <uint64_t>MOVED_BYTES_MAX))
    try:
        commit_some(channel, staged, PY_SSIZE_T_MAX)
        if staged.settlements_count:
            staged.commit = max(staged.commit, journal.commit_pending())
    finally:
        journal.end_move()
    return 0


cdef uint64_t record_bytes_of(Transaction staged, Journal journal) except? 0:
    cdef uint64_t publishes = <uint64_t>staged.publishes_count
    cdef uint64_t settlements = <uint64_t>staged.settlements_count
    cdef uint64_t queues = min(staged.targets + settlements, <uint64_t>len(journal.logs))
    return (
        staged.octets + publishes * (RECORD_HEADER_BYTES + sizeof(MessageRecord))
        + max(staged.targets, publishes) * (DESCRIBED_BYTES + RECORD_HEADER_BYTES + sizeof(TargetRecord))
        - publishes * (RECORD_HEADER_BYTES + sizeof(TargetRecord))
        + settlements * (DESCRIBED_BYTES + RECORD_HEADER_BYTES + sizeof(RangeRecord))
        + 2 * queues * PENDING_RECORDS_BYTES
    )


cdef int publish_staged(Channel channel, Transaction staged, StagedPublish *publish) except -1:
    cdef RouteSet routes = <RouteSet>publish.routes
    cdef Exchange exchange
    cdef bint is_open = not channel.closing and not channel.peer.closing
    try:
        if publish.deduplication != NULL and routes.count:
            if (<Deduplication>publish.deduplication).is_duplicate(publish.message, &staged.commit):
                return 0
        if not channel.enqueue(publish.message, routes, publish.expires_at_ms, &staged.commit):
            exchange = channel.vhost.exchanges.get(exchange_of(publish.message))
            channel.reached_nobody(publish.message, exchange, publish.mandatory and is_open)
    finally:
        release_publish(publish)
    return 0


cdef int settle_staged(Transaction staged, StagedSettlement *settlement) except -1:
    if settlement.outcome == REQUEUED or settlement.outcome == FAILED:
        staged.hold(<Queue>settlement.entry.queue)
    return settle_delivery(staged.window, &settlement.entry, settlement.outcome)


def end_commit(Channel channel not None, Transaction staged not None) -> int:
    """All of it has happened. Returns the commit of the journal to wait for, 0 when there is none."""
    if staged.settlements_count:
        try:
            channel.wake_consumers()
        finally:
            staged.let_go()
    bury_all()
    if staged.commit == publish_refused():
        raise PreconditionFailed("partial tx completion")
    return staged.commit
