"""CRC-32C: the published vectors, and both implementations against the definition, bit by bit."""

import platform
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowmq._checksum import crc32c, crc32c_by_table, implementation

Checksum = Callable[..., int]

# From RFC 3720, appendix B.4, and the check value of the CRC catalogues.
VECTORS = [
    (b"", 0),
    (b"123456789", 0xE3069283),
    (bytes(32), 0x8A9136AA),
    (b"\xff" * 32, 0x62A8AB43),
    (bytes(range(32)), 0x46DD794E),
    (bytes(range(31, -1, -1)), 0x113FDB5C),
]

# Where the way of computing changes: words, three streams of 4 to 256 words, and several rounds of those.
EDGES = [0, 8, 64, 96, 24 * 5, 1024, 4096, 24 * 256, 24 * 256 + 96, 48 * 256, 65536]
PATTERN = bytes((position * position * 31 + position * 7) >> 3 & 255 for position in range(65536 + 64))


def by_definition(octets: bytes, seed: int = 0) -> int:
    remainder = seed ^ 0xFFFFFFFF
    for octet in octets:
        remainder ^= octet
        for _ in range(8):
            remainder = remainder >> 1 ^ (0x82F63B78 if remainder & 1 else 0)
    return remainder ^ 0xFFFFFFFF


def prefix_checksums(octets: bytes) -> list[int]:
    """By definition, of every prefix: one walk judges all lengths."""
    checksums = [0]
    for octet in octets:
        checksums.append(by_definition(bytes([octet]), checksums[-1]))
    return checksums


@pytest.fixture(params=["in use", "table"])
def checksum(request: pytest.FixtureRequest) -> Checksum:
    return crc32c if request.param == "in use" else crc32c_by_table


@pytest.fixture(scope="module")
def expected() -> list[int]:
    return prefix_checksums(PATTERN)


@pytest.mark.parametrize(("octets", "value"), VECTORS)
def test_published_vectors(checksum: Checksum, octets: bytes, value: int) -> None:
    assert by_definition(octets) == value
    assert checksum(octets) == value


def test_every_length_up_to_several_streams(checksum: Checksum, expected: list[int]) -> None:
    for length in range(1200):
        assert checksum(PATTERN[:length]) == expected[length], length


@pytest.mark.parametrize("edge", EDGES)
def test_around_the_edges(checksum: Checksum, expected: list[int], edge: int) -> None:
    for length in range(max(0, edge - 9), edge + 10):
        assert checksum(PATTERN[:length]) == expected[length], length


@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 95, 96, 100, 1000, 4096])
def test_every_alignment(checksum: Checksum, length: int) -> None:
    value = by_definition(PATTERN[:length])
    for offset in range(64):
        room = bytearray(b"\xa5" * offset + PATTERN[:length] + b"\x5a" * 16)
        assert checksum(memoryview(room)[offset : offset + length]) == value, offset


def test_every_split_goes_on_from_the_first_part(checksum: Checksum) -> None:
    octets = PATTERN[:1000]
    whole = by_definition(octets, 77)
    for split in range(1001):
        assert checksum(octets[split:], checksum(octets[:split], 77)) == whole, split


@given(
    octets=st.binary(max_size=2000),
    repeated=st.integers(1, 9),
    seed=st.integers(0, 0xFFFFFFFF),
    cuts=st.lists(st.integers(0, 18000), max_size=4),
)
def test_any_octets_in_any_parts(octets: bytes, repeated: int, seed: int, cuts: list[int]) -> None:
    octets *= repeated
    expected = by_definition(octets, seed)
    for checksum in (crc32c, crc32c_by_table):
        value, start = seed, 0
        for end in [*sorted(min(cut, len(octets)) for cut in cuts), len(octets)]:
            value, start = checksum(octets[start:end], value), end
        assert value == expected


def test_every_single_bit_counts(checksum: Checksum) -> None:
    octets = bytearray(PATTERN[:240])
    seen = {checksum(octets)}
    for bit in range(8 * len(octets)):
        octets[bit >> 3] ^= 1 << (bit & 7)
        seen.add(checksum(octets))
        octets[bit >> 3] ^= 1 << (bit & 7)
    assert len(seen) == 1 + 8 * len(octets)


@pytest.mark.parametrize("seed", [-1, 1 << 32])
def test_a_seed_has_32_bits(checksum: Checksum, seed: int) -> None:
    with pytest.raises(OverflowError):
        checksum(b"", seed)


def test_only_octets_have_a_checksum(checksum: Checksum) -> None:
    with pytest.raises(TypeError):
        checksum("text")
    with pytest.raises(BufferError):
        checksum(memoryview(b"every other")[::2])


@pytest.mark.skipif(platform.machine() != "x86_64", reason="asks this kind of processor what it can")
def test_the_instruction_is_used_where_there_is_one() -> None:
    flags = Path("/proc/cpuinfo").read_text().partition("flags")[2].partition("\n")[0].split()
    assert implementation() == ("sse4.2" if {"sse4_2", "pclmulqdq"} <= set(flags) else "table")


@pytest.mark.parametrize("size", [64, 1024, 4096, 65536])
def test_speed(benchmark: Callable[..., int], checksum: Checksum, size: int) -> None:
    octets = PATTERN[:size]
    assert benchmark(checksum, octets) == by_definition(octets)
