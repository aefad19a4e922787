# A histogram of latencies: 64 buckets per power of two of nanoseconds, so that a figure is within 1.6 % of the truth
# whatever its size. No module of its own.

from libc.stdint cimport uint64_t
from libc.string cimport memset

cdef extern from * nogil:
    int leading_zeros "__builtin_clzll"(uint64_t value)

cdef enum:
    LATENCY_BITS = 6
    LATENCY_STEPS = 64
    LATENCY_BUCKETS = (64 - LATENCY_BITS + 1) * LATENCY_STEPS

cdef struct Latencies:
    uint64_t total
    uint64_t counts[LATENCY_BUCKETS]

cdef inline Py_ssize_t latency_bucket(uint64_t value) noexcept nogil:
    cdef int magnitude
    if value < LATENCY_STEPS:
        return <Py_ssize_t>value
    magnitude = 63 - leading_zeros(value)
    return (<Py_ssize_t>(magnitude - LATENCY_BITS + 1) << LATENCY_BITS) + \
        <Py_ssize_t>((value >> (magnitude - LATENCY_BITS)) & (LATENCY_STEPS - 1))

cdef inline double latency_middle(Py_ssize_t bucket) noexcept nogil:
    cdef Py_ssize_t magnitude = (bucket >> LATENCY_BITS) - 1
    if magnitude < 0:
        return bucket
    return ((LATENCY_STEPS + (bucket & (LATENCY_STEPS - 1))) + 0.5) * <double>(<uint64_t>1 << magnitude)

cdef inline void latencies_clear(Latencies *latencies) noexcept nogil:
    memset(latencies, 0, sizeof(Latencies))

cdef inline void latencies_add(Latencies *latencies, uint64_t latency_ns) noexcept nogil:
    latencies.counts[latency_bucket(latency_ns)] += 1
    latencies.total += 1

cdef inline double latencies_quantile(const Latencies *latencies, double quantile) noexcept nogil:
    # The latency in nanoseconds that this share stays below; of nothing it is 0.
    cdef uint64_t below = 0
    cdef Py_ssize_t bucket
    for bucket in range(LATENCY_BUCKETS):
        below += latencies.counts[bucket]
        if below and below >= quantile * latencies.total:
            return latency_middle(bucket)
    return 0
