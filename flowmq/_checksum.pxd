# CRC-32C (Castagnoli): the checksum of everything the journal writes.
#
# Tells damage, not malice: who can write to the disk can make it fit. Keeps no state: a checksum goes on from the one
# before it, crc32c(crc32c(seed, a), b) == crc32c(seed, a + b), and with seed 0 it begins as the standard says.
#
# The processor's own instruction where it has one, found at start-up; tables where it has none.

from libc.stddef cimport size_t
from libc.stdint cimport uint32_t

cdef uint32_t crc32c(uint32_t seed, const void *octets, size_t count) noexcept nogil
