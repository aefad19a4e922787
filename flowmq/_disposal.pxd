# Files whose name is gone already: the last close gives their blocks back, and that may take its time.
#
# Where a file system discards blocks at once, 64 MiB take 40 ms of waiting. So a thread of its own does each close.

# Closes a descriptor that nobody uses any more, at once or soon. The number may be used again before its file is gone.
cdef void dispose_of(int fd) noexcept
