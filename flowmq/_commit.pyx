# cython: linetrace=False
# See _commit.pxd for what this module is and is not.
#
# Loop and commit thread share one mutex, held for a few assignments at a time and never during a call to the disk. The
# module has no line tracing: in the commit thread it would take the GIL, with the mutex held.

from libc.errno cimport EINTR, EIO, errno
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset, strerror
from posix.fcntl cimport O_CLOEXEC, O_CREAT, O_TRUNC, O_WRONLY, open as open_file
from posix.stat cimport fstat, struct_stat
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec
from posix.unistd cimport close as close_descriptor, fdatasync, write as write_on

from flowmq._frame cimport FLOWMQ_CONTRACT
from flowmq._threads cimport pthread_t, start_thread

from flowmq._frame import check_contract

check_contract(FLOWMQ_CONTRACT)

cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_mutex_t:
        pass
    ctypedef struct pthread_cond_t:
        pass
    int pthread_join(pthread_t, void **)
    int pthread_mutex_init(pthread_mutex_t *, const void *)
    int pthread_mutex_destroy(pthread_mutex_t *)
    int pthread_mutex_lock(pthread_mutex_t *)
    int pthread_mutex_unlock(pthread_mutex_t *)
    int pthread_cond_init(pthread_cond_t *, const void *)
    int pthread_cond_destroy(pthread_cond_t *)
    int pthread_cond_wait(pthread_cond_t *, pthread_mutex_t *)
    int pthread_cond_signal(pthread_cond_t *)
    int pthread_cond_broadcast(pthread_cond_t *)

cdef extern from "<sys/eventfd.h>" nogil:
    int EFD_CLOEXEC
    int EFD_NONBLOCK
    int eventfd(unsigned int, int)
    int eventfd_read(int, uint64_t *)
    int eventfd_write(int, uint64_t)

cdef extern from "<unistd.h>" nogil:
    Py_ssize_t pwrite(int, const void *, size_t, int64_t)

cdef struct Fifo:
    Batch *head
    Batch *tail

cdef struct Disk:
    # The calls that reach the disk. Replaced by the planned ones for tests.
    Py_ssize_t (*write)(State *state, int fd, const char *data, size_t size, int64_t offset) noexcept nogil
    int (*sync)(State *state, int fd) noexcept nogil
    int trace_fd                # -1: no trace

cdef struct Plan:
    # What the planned calls do otherwise than the plain ones.
    int64_t writes_before       # so many writes go well before the planned one; -1: none is planned
    int write_error             # 0: the planned write is a short one
    int64_t syncs_before
    int sync_error
    bint held                   # syncs wait until this is lifted

cdef struct Group:
    # What the commit thread took in one go, and how that went. Its own until it reports.
    Fifo batches
    Disk disk
    Counters counters           # since the thread began
    uint64_t done               # as reported last
    int error

cdef struct State:
    pthread_t thread
    pthread_mutex_t mutex       # guards all below
    pthread_cond_t work         # something waits, or `closing`
    pthread_cond_t news         # a group was reported, or a hold lifted
    Fifo waiting
    Fifo finished
    uint64_t submitted          # number of the last batch handed over
    uint64_t written            # every batch up to this number is written
    uint64_t done
    int error
    bint closing
    int wake_fd
    Counters counters
    Disk disk
    Plan plan

cdef struct TraceEntry:
    uint32_t kind
    int32_t fd
    uint64_t inode
    int64_t offset
    uint64_t size


cdef Batch *commit_batch_new(size_t capacity) noexcept nogil:
    cdef Batch *batch = <Batch *>calloc(1, sizeof(Batch))
    if batch is NULL:
        return NULL
    batch.data = <char *>malloc(capacity if capacity else 1)
    if batch.data is NULL:
        free(batch)
        return NULL
    batch.capacity = capacity
    batch.fd = -1
    return batch


cdef void commit_batch_free(Batch *batch) noexcept nogil:
    free(batch.data)
    free(batch)


# ---------------------------------------------------------------------------------------------- the commit thread

cdef void fifo_append(Fifo *fifo, Fifo *more) noexcept nogil:
    """Moves all of `more` to the end of `fifo`."""
    if more.head is NULL:
        return
    if fifo.head is NULL:
        fifo.head = more.head
    else:
        fifo.tail.next = more.head
    fifo.tail = more.tail
    more.head = more.tail = NULL


cdef void *run(void *argument) noexcept nogil:
    cdef State *state = <State *>argument
    cdef Group group
    memset(&group, 0, sizeof(Group))
    while take_group(state, &group):
        if not group.error:
            group.error = commit_group(state, &group)
        report(state, &group)
    return NULL


cdef bint take_group(State *state, Group *group) noexcept nogil:
    """Waits for batches and takes all there are. False when the thread is to end."""
    pthread_mutex_lock(&state.mutex)
    while state.waiting.head is NULL and not state.closing:
        pthread_cond_wait(&state.work, &state.mutex)
    fifo_append(&group.batches, &state.waiting)
    group.disk = state.disk
    pthread_mutex_unlock(&state.mutex)
    return group.batches.head is not NULL


cdef int commit_group(State *state, Group *group) noexcept nogil:
    """Returns 0 or the errno of what failed; `done` and the batches' `complete` tell how far it came, either way."""
    cdef int error = write_group(state, group)
    cdef int trace_error
    cdef uint64_t reached
    if not error:
        error = sync_group(state, group)
    reached = reached_by(group)
    if reached == group.done:
        return error
    trace_error = trace(&group.disk, TRACE_DONE, -1, <int64_t>reached, NULL, 0)
    if trace_error == 0:
        group.done = reached
    return error or trace_error


cdef uint64_t reached_by(Group *group) noexcept nogil:
    cdef uint64_t done = group.done
    cdef Batch *batch = group.batches.head
    while batch is not NULL and batch.complete:
        done = batch.number
        batch = batch.next
    return done


cdef int write_group(State *state, Group *group) noexcept nogil:
    cdef Batch *batch = group.batches.head
    cdef int error
    while batch is not NULL:
        error = write_batch(state, group, batch)
        if error:
            return error
        batch.complete = not batch.sync
        batch = batch.next
    pthread_mutex_lock(&state.mutex)
    # The other side may have written further by itself meanwhile.
    state.written = max(state.written, group.batches.tail.number)
    pthread_mutex_unlock(&state.mutex)
    return 0


cdef int write_batch(State *state, Group *group, Batch *batch) noexcept nogil:
    cdef size_t written = 0
    cdef int64_t offset
    cdef Py_ssize_t count
    cdef int error
    if batch.written:
        return 0
    while written < batch.bytes:
        offset = batch.offset + <int64_t>written
        count = group.disk.write(state, batch.fd, batch.data + written, batch.bytes - written, offset)
        if count < 0 and errno == EINTR:
            continue
        if count <= 0:
            # Nothing written and nothing wrong: there is no errno to go by, and going on would be for ever.
            return errno if count < 0 else EIO
        group.counters.bytes_written += <uint64_t>count
        error = trace(&group.disk, TRACE_WRITE, batch.fd, offset, batch.data + written, <size_t>count)
        if error:
            return error
        written += <size_t>count
    group.counters.writes += 1
    return 0


cdef int sync_group(State *state, Group *group) noexcept nogil:
    cdef Batch *batch = group.batches.head
    cdef int error
    while batch is not NULL:
        if not batch.complete:
            error = sync_descriptor(state, group, batch.fd)
            if error:
                return error
            complete_all_of(batch)
        batch = batch.next
    return 0


cdef void complete_all_of(Batch *first) noexcept nogil:
    """The descriptor of `first` was synced: that is as good for all behind it that share it."""
    cdef Batch *batch = first
    while batch is not NULL:
        if batch.fd == first.fd:
            batch.complete = True
        batch = batch.next


cdef int sync_descriptor(State *state, Group *group, int fd) noexcept nogil:
    cdef uint64_t begun_us = now_us()
    # No second try, not even after EINTR: what the first one has dropped, the second one does not miss.
    if group.disk.sync(state, fd) != 0:
        return errno or EIO
    count_sync(&group.counters, now_us() - begun_us)
    return trace(&group.disk, TRACE_SYNC, fd, 0, NULL, 0)


cdef void count_sync(Counters *counters, uint64_t took_us) noexcept nogil:
    cdef int bucket = 0
    while bucket < SYNC_BUCKETS - 1 and took_us >= <uint64_t>64 << bucket:
        bucket += 1
    counters.syncs += 1
    counters.last_sync_us = took_us
    counters.sync_us += took_us
    counters.sync_buckets[bucket] += 1


cdef uint64_t now_us() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <uint64_t>now.tv_sec * 1000000 + <uint64_t>now.tv_nsec // 1000


cdef void report(State *state, Group *group) noexcept nogil:
    cdef bint changed
    pthread_mutex_lock(&state.mutex)
    changed = state.done != group.done or state.error != group.error
    state.done = group.done
    state.error = group.error
    state.counters = group.counters
    fifo_append(&state.finished, &group.batches)
    pthread_cond_broadcast(&state.news)
    pthread_mutex_unlock(&state.mutex)
    if changed:
        # Fails only when the counter is full, and then it is readable.
        eventfd_write(state.wake_fd, 1)


# -------------------------------------------------------------------------------------------- calls to the disk

cdef Py_ssize_t plain_write(State *state, int fd, const char *data, size_t size, int64_t offset) noexcept nogil:
    return pwrite(fd, data, size, offset)


cdef int plain_sync(State *state, int fd) noexcept nogil:
    return fdatasync(fd)


cdef bint is_planned(int64_t *before) noexcept nogil:
    """Counts one call; True when it is the planned one. There is one only: calls after it go well."""
    if before[0] < 0:
        return False
    before[0] -= 1
    return before[0] < 0


cdef Py_ssize_t planned_write(State *state, int fd, const char *data, size_t size, int64_t offset) noexcept nogil:
    cdef int planned, error
    pthread_mutex_lock(&state.mutex)
    planned = is_planned(&state.plan.writes_before)
    error = state.plan.write_error
    pthread_mutex_unlock(&state.mutex)
    if not planned:
        return pwrite(fd, data, size, offset)
    if error == 0:
        return pwrite(fd, data, (size + 1) // 2, offset)
    (&errno)[0] = error
    return -1


cdef int planned_sync(State *state, int fd) noexcept nogil:
    cdef int planned, error
    pthread_mutex_lock(&state.mutex)
    while state.plan.held:
        pthread_cond_wait(&state.news, &state.mutex)
    planned = is_planned(&state.plan.syncs_before)
    error = state.plan.sync_error
    pthread_mutex_unlock(&state.mutex)
    if not planned:
        return fdatasync(fd)
    (&errno)[0] = error
    return -1


cdef int trace(Disk *disk, uint32_t kind, int fd, int64_t offset, const char *data, size_t size) noexcept nogil:
    """Notes what was done, if there is a trace. Returns 0 or errno: a trace with gaps would prove nothing."""
    cdef TraceEntry entry
    cdef struct_stat status
    if disk.trace_fd < 0:
        return 0
    entry = TraceEntry(kind, fd, 0, offset, size)
    if fd >= 0:
        if fstat(fd, &status) != 0:
            return errno
        entry.inode = status.st_ino
    return trace_octets(disk.trace_fd, <char *>&entry, sizeof(TraceEntry)) or trace_octets(disk.trace_fd, data, size)


cdef int trace_octets(int fd, const char *data, size_t size) noexcept nogil:
    cdef size_t written = 0
    cdef Py_ssize_t count
    while written < size:
        count = write_on(fd, data + written, size - written)
        if count < 0 and errno != EINTR:
            return errno
        if count > 0:
            written += <size_t>count
    return 0


# --------------------------------------------------------------------------------------------------- the loop side

cdef object os_error(int error):
    return OSError(error, strerror(error).decode())


cdef State *state_new() except NULL:
    cdef State *state = <State *>calloc(1, sizeof(State))
    if state is NULL:
        raise MemoryError
    pthread_mutex_init(&state.mutex, NULL)
    pthread_cond_init(&state.work, NULL)
    pthread_cond_init(&state.news, NULL)
    state.disk.write = plain_write
    state.disk.sync = plain_sync
    state.disk.trace_fd = -1
    state.plan.writes_before = state.plan.syncs_before = -1
    state.wake_fd = -1
    return state


cdef void state_free(State *state) noexcept:
    cdef Batch *batch = state.finished.head
    cdef Batch *following
    while batch is not NULL:
        following = batch.next
        commit_batch_free(batch)
        batch = following
    pthread_cond_destroy(&state.work)
    pthread_cond_destroy(&state.news)
    pthread_mutex_destroy(&state.mutex)
    if state.wake_fd >= 0:
        close_descriptor(state.wake_fd)
    free(state)


cdef class CommitThread:
    def __cinit__(self):
        cdef int error
        self.wake_fd = -1
        self.state = state_new()
        self.state.wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
        if self.state.wake_fd < 0:
            raise os_error(errno)
        error = start_thread(&self.state.thread, b"flowmq-commit", run, self.state)
        if error:
            raise os_error(error)
        # Only with a thread that runs: end() goes by it.
        self.wake_fd = self.state.wake_fd

    def __dealloc__(self):
        if self.state is NULL:
            return
        self.end()
        state_free(self.state)

    def close(self):
        """Waits until all batches handed over are done, or a failure has ended that; then ends the thread."""
        self.end()

    cdef void end(self) noexcept:
        if self.wake_fd < 0:
            return
        self.wake_fd = -1
        with nogil:
            pthread_mutex_lock(&self.state.mutex)
            self.state.closing = True
            self.state.plan.held = False
            pthread_cond_signal(&self.state.work)
            pthread_cond_broadcast(&self.state.news)
            pthread_mutex_unlock(&self.state.mutex)
            pthread_join(self.state.thread, NULL)
            close_descriptor(self.state.wake_fd)
            self.state.wake_fd = -1
            if self.state.disk.trace_fd >= 0:
                close_descriptor(self.state.disk.trace_fd)

    cdef int submit(self, Batch *batch) except -1:
        cdef Fifo one
        if self.wake_fd < 0:
            raise ValueError("the commit thread is closed")
        # Only the loop side changes `submitted`, and it holds the GIL.
        if batch.number <= self.state.submitted:
            raise ValueError(f"batch {batch.number} after batch {self.state.submitted}")
        batch.complete = False
        batch.next = NULL
        one.head = one.tail = batch
        pthread_mutex_lock(&self.state.mutex)
        if batch.written and self.state.written == self.state.submitted:
            self.state.written = batch.number
        self.state.submitted = batch.number
        fifo_append(&self.state.waiting, &one)
        pthread_cond_signal(&self.state.work)
        pthread_mutex_unlock(&self.state.mutex)
        return 0

    cdef bint write_now(self, Batch *batch) noexcept:
        cdef State *state = self.state
        cdef size_t written = 0
        cdef Py_ssize_t count
        cdef bint may
        pthread_mutex_lock(&state.mutex)
        # A trace has one writer.
        may = state.written == state.submitted and not state.error and state.disk.trace_fd < 0
        pthread_mutex_unlock(&state.mutex)
        while may and written < batch.bytes:
            count = state.disk.write(
                state, batch.fd, batch.data + written, batch.bytes - written, batch.offset + <int64_t>written
            )
            # Whatever is wrong, the commit thread meets it again and says so.
            may = count > 0
            written += <size_t>max(count, 0)
        batch.written = may
        return may

    cdef uint64_t done(self) noexcept:
        cdef uint64_t done
        pthread_mutex_lock(&self.state.mutex)
        done = self.state.done
        pthread_mutex_unlock(&self.state.mutex)
        return done

    cdef int error(self) noexcept:
        cdef int error
        pthread_mutex_lock(&self.state.mutex)
        error = self.state.error
        pthread_mutex_unlock(&self.state.mutex)
        return error

    cdef Batch *take_finished(self) noexcept:
        cdef Batch *batch
        pthread_mutex_lock(&self.state.mutex)
        batch = self.state.finished.head
        if batch is not NULL:
            self.state.finished.head = batch.next
            batch.next = NULL
        pthread_mutex_unlock(&self.state.mutex)
        return batch

    cdef void drop_finished(self, unsigned int kept) noexcept:
        cdef Batch *batch
        cdef Batch *surplus = NULL
        pthread_mutex_lock(&self.state.mutex)
        batch = self.state.finished.head
        while batch is not NULL and kept > 1:
            batch = batch.next
            kept -= 1
        if batch is not NULL:
            surplus = batch.next
            batch.next, self.state.finished.tail = NULL, batch
        pthread_mutex_unlock(&self.state.mutex)
        while surplus is not NULL:
            batch, surplus = surplus, surplus.next
            commit_batch_free(batch)

    cdef void acknowledge(self) noexcept:
        cdef uint64_t changes
        # Empty is no failure: somebody was here before.
        eventfd_read(self.wake_fd, &changes)

    def wait(self, uint64_t number) -> bool:
        """Waits until that batch is done; False when a failure came first. For shutdown and tests: nothing interrupts
        it but the disk."""
        cdef bint reached
        if number > self.state.submitted:
            raise ValueError(f"waiting for batch {number}; the last one is {self.state.submitted}")
        with nogil:
            pthread_mutex_lock(&self.state.mutex)
            while self.state.done < number and not self.state.error:
                pthread_cond_wait(&self.state.news, &self.state.mutex)
            reached = self.state.done >= number
            pthread_mutex_unlock(&self.state.mutex)
        return reached

    # ---------------------------------------------------------------------------------------------- what it counts

    cdef Counters counted(self) noexcept:
        cdef Counters counters
        pthread_mutex_lock(&self.state.mutex)
        counters = self.state.counters
        pthread_mutex_unlock(&self.state.mutex)
        return counters

    @property
    def writes(self) -> int:
        """Batches written."""
        return self.counted().writes

    @property
    def syncs(self) -> int:
        return self.counted().syncs

    @property
    def bytes_written(self) -> int:
        return self.counted().bytes_written

    @property
    def last_sync_us(self) -> int:
        return self.counted().last_sync_us

    @property
    def sync_us(self) -> int:
        """All syncs together."""
        return self.counted().sync_us

    @property
    def sync_histogram(self) -> tuple[int, ...]:
        """How many syncs took less than 64 microseconds, 128, and so on, doubling; the last are all the others."""
        cdef Counters counters = self.counted()
        return tuple([counters.sync_buckets[bucket] for bucket in range(SYNC_BUCKETS)])

    # ---------------------------------------------------------------------------------------------------- for tests

    def progress(self) -> tuple[int, int]:
        """done() and error()."""
        return self.done(), self.error()

    def record_to(self, path):
        """Begins a trace of writes, syncs and reports; see _commit.pxd. Before the first batch."""
        cdef bytes name = str(path).encode("utf-8", "surrogateescape")
        cdef int fd
        if self.wake_fd < 0 or self.state.submitted or self.state.disk.trace_fd >= 0:
            raise ValueError("a trace begins once, before the first batch")
        fd = open_file(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        if fd < 0:
            raise os_error(errno)
        pthread_mutex_lock(&self.state.mutex)
        self.state.disk.trace_fd = fd
        pthread_mutex_unlock(&self.state.mutex)

    def _inject(self, kind, int64_t after, int error):
        """After `after` further calls that go well, one "write" or "sync" fails with errno `error`, or one write is
        "short"; those that follow go well again. From the next group of batches on."""
        if kind not in ("write", "short", "sync"):
            raise ValueError(kind)
        pthread_mutex_lock(&self.state.mutex)
        self.state.disk.write, self.state.disk.sync = planned_write, planned_sync
        if kind == "sync":
            self.state.plan.syncs_before, self.state.plan.sync_error = after, error
        else:
            self.state.plan.writes_before, self.state.plan.write_error = after, error if kind == "write" else 0
        pthread_mutex_unlock(&self.state.mutex)

    def _hold(self, bint held):
        """Syncs of the next groups wait until the hold is lifted, by _hold(False) or close()."""
        pthread_mutex_lock(&self.state.mutex)
        self.state.disk.write, self.state.disk.sync = planned_write, planned_sync
        self.state.plan.held = held
        pthread_cond_broadcast(&self.state.news)
        pthread_mutex_unlock(&self.state.mutex)

    def _submit(self, uint64_t number, int fd, int64_t offset, bytes data, bint sync):
        cdef size_t size = <size_t>len(data)
        cdef Batch *batch = commit_batch_new(size)
        if batch is NULL:
            raise MemoryError
        memcpy(batch.data, <const char *>data, size)
        batch.bytes = size
        batch.fd, batch.offset, batch.number, batch.sync = fd, offset, number, sync
        try:
            self.submit(batch)
        except ValueError:
            commit_batch_free(batch)
            raise

    def _take_finished(self) -> tuple[int, bool] | None:
        """Number and completeness of the next batch that is not needed any more."""
        cdef Batch *batch = self.take_finished()
        if batch is NULL:
            return None
        number, complete = batch.number, batch.complete
        commit_batch_free(batch)
        return number, complete

    def _drop_finished(self, unsigned int kept):
        self.drop_finished(kept)

    def _acknowledge(self):
        self.acknowledge()
