"""A naive twin of the exchanges that choose one target by a hash.

It knows the hash as it must stay: keys that went to one queue go there after every restart and every update.
"""

from bisect import bisect_left
from functools import lru_cache

MASK = 2**64 - 1


def fold(a: int, b: int) -> int:
    return (a * b & MASK) ^ (a * b >> 64)


def mixed(bits: int) -> int:
    bits = (bits ^ bits >> 30) * 0xBF58476D1CE4E5B9 & MASK
    bits = (bits ^ bits >> 27) * 0x94D049BB133111EB & MASK
    return bits ^ bits >> 31


def stable_hash(octets: bytes) -> int:
    seed, secret = 0x243F6A8885A308D3, 0x13198A2E03707345
    hash, rest = seed ^ len(octets), octets
    while len(rest) >= 8:
        hash, rest = fold(hash ^ int.from_bytes(rest[:8], "little"), secret), rest[8:]
    if len(rest) >= 4:
        block = int.from_bytes(rest[:4], "little") << 32 | int.from_bytes(rest[-4:], "little")
        hash = fold(hash ^ block, secret)
    elif rest:
        hash = fold(hash ^ (rest[0] << 16 | rest[len(rest) // 2] << 8 | rest[-1]), secret)
    return mixed(fold(hash, seed | 1))


@lru_cache(None)
def point(name: bytes, number: int) -> int:
    return mixed(stable_hash(b"queue " + name) + (number + 1) * 0x9E3779B97F4A7C15 & MASK)


def ring_choices(weights: dict[bytes, int], hashes: list[int]) -> list[bytes]:
    whole = 1024
    while whole < sum(weights.values()):
        whole *= 2
    points = sorted(
        (point(name, number), name)
        for name, weight in weights.items()
        for number in range(max(1, weight * 256 * 1024 // whole))
    )
    return [points[bisect_left(points, (hash, b"")) % len(points)][1] for hash in hashes]


def jump_choices(weights: dict[bytes, int], hashes: list[int]) -> list[bytes]:
    names = laid_end_to_end(weights)
    return [names[jump(hash, len(names))] for hash in hashes]


def jump(hash: int, count: int) -> int:
    bucket, onward = 0, 0
    while onward < count:
        bucket = onward
        hash = (hash * 2862933555777941757 + 1) & MASK
        onward = int((bucket + 1) * (2.0**31 / ((hash >> 33) + 1)))
    return bucket


def modulus_choices(weights: dict[bytes, int], hashes: list[int]) -> list[bytes]:
    names = laid_end_to_end(weights)
    return [names[hash % len(names)] for hash in hashes]


def laid_end_to_end(weights: dict[bytes, int]) -> list[bytes]:
    return [name for name in sorted(weights, key=lambda name: (len(name), name)) for _ in range(weights[name])]
