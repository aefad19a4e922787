"""What a sync costs on the disk under the figures, without any broker: without it a rate of confirms means nothing."""

import os
import statistics
import tempfile
import time

SYNCS = 200
WRITE_BYTES = 4096


def sync_latencies_us() -> tuple[float, float]:
    """p50 and p99 of a write and its fdatasync, one after the other into a preallocated file where brokers live."""
    with tempfile.TemporaryFile(prefix="flowmq-bench-") as file:
        os.posix_fallocate(file.fileno(), 0, SYNCS * WRITE_BYTES)
        os.fsync(file.fileno())
        latencies = [sync_ns(file.fileno(), i * WRITE_BYTES) / 1000 for i in range(SYNCS)]
    percentiles = statistics.quantiles(latencies, n=100, method="inclusive")
    return percentiles[49], percentiles[98]


def sync_ns(descriptor: int, offset: int) -> int:
    os.pwrite(descriptor, os.urandom(WRITE_BYTES), offset)
    started = time.monotonic_ns()
    os.fdatasync(descriptor)
    return time.monotonic_ns() - started
