"""Ways to spoil bytes. Each takes frames and returns frames; the dice decide where."""

import random
import struct
from collections.abc import Callable

Frames = list[bytes]
EDGES = (0, 1, 0x7F, 0x80, 0xCE, 0xFF)
SIZES = (0, 1, 7, 8, 255, 4096, 131064, 131072, 131073, 2**31 - 1, 2**31, 2**32 - 1)


def _change(frames: Frames, dice: random.Random, change: Callable[[bytearray], None]) -> Frames:
    """One frame, not empty, changed in place."""
    index = dice.choice([index for index, data in enumerate(frames) if data] or [0])
    data = bytearray(frames[index] or b"\0")
    change(data)
    return [*frames[:index], bytes(data), *frames[index + 1 :]]


def flip_a_bit(frames: Frames, dice: random.Random) -> Frames:
    def change(data: bytearray) -> None:
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)

    return _change(frames, dice, change)


def set_an_octet(frames: Frames, dice: random.Random) -> Frames:
    def change(data: bytearray) -> None:
        data[dice.randrange(len(data))] = dice.choice(EDGES)

    return _change(frames, dice, change)


def set_an_early_octet(frames: Frames, dice: random.Random) -> Frames:
    """Where type, channel, size, class and method stand."""

    def change(data: bytearray) -> None:
        data[dice.randrange(min(len(data), 12))] = dice.choice((*EDGES, dice.randrange(256)))

    return _change(frames, dice, change)


def set_a_length(frames: Frames, dice: random.Random) -> Frames:
    """Four octets anywhere become a length somebody will believe."""

    def change(data: bytearray) -> None:
        at = dice.randrange(max(1, len(data) - 4))
        data[at : at + 4] = struct.pack(">I", dice.choice(SIZES))

    return _change(frames, dice, change)


def cut(frames: Frames, dice: random.Random) -> Frames:
    def change(data: bytearray) -> None:
        at = dice.randrange(len(data))
        del data[at : at + dice.choice((1, 2, 8, 100))]

    return _change(frames, dice, change)


def insert(frames: Frames, dice: random.Random) -> Frames:
    def change(data: bytearray) -> None:
        at = dice.randrange(len(data) + 1)
        data[at:at] = dice.randbytes(dice.choice((1, 2, 8, 100)))

    return _change(frames, dice, change)


def resize_payload(frames: Frames, dice: random.Random) -> Frames:
    """Cut or lengthen a payload but keep the frame around it whole, so that the fault lies in what it holds."""
    index = dice.randrange(len(frames))
    data = frames[index]
    if len(data) < 8 or len(data) != 8 + struct.unpack_from(">I", data, 3)[0]:
        return frames
    payload = data[7:-1]
    payload = payload[: dice.randrange(len(payload) + 1)] + dice.randbytes(dice.choice((0, 0, 1, 9)))
    return [*frames[:index], data[:3] + struct.pack(">I", len(payload)) + payload + b"\xce", *frames[index + 1 :]]


def swap_two(frames: Frames, dice: random.Random) -> Frames:
    swapped = list(frames)
    one, two = dice.randrange(len(frames)), dice.randrange(len(frames))
    swapped[one], swapped[two] = swapped[two], swapped[one]
    return swapped


def drop_one(frames: Frames, dice: random.Random) -> Frames:
    index = dice.randrange(len(frames))
    return frames[:index] + frames[index + 1 :] or frames


def repeat_one(frames: Frames, dice: random.Random) -> Frames:
    index = dice.randrange(len(frames))
    return frames[:index] + [frames[index]] * dice.choice((2, 3, 50)) + frames[index + 1 :]


def noise_at_the_end(frames: Frames, dice: random.Random) -> Frames:
    return [*frames, dice.randbytes(dice.choice((1, 8, 300)))]


MUTATIONS = (
    flip_a_bit,
    set_an_octet,
    set_an_early_octet,
    set_a_length,
    cut,
    insert,
    resize_payload,
    swap_two,
    drop_one,
    repeat_one,
    noise_at_the_end,
)


def mutate(frames: Frames, dice: random.Random) -> Frames:
    for _ in range(dice.choice((0, 1, 1, 1, 2, 3, 8))):
        frames = dice.choice(MUTATIONS)(frames, dice)
    return frames


def pieces(data: bytes, dice: random.Random) -> list[bytes]:
    """How the bytes are cut into writes: whole, here and there, or (the first ones) one by one."""
    way = dice.randrange(3)
    if way == 0 or len(data) < 2:
        return [data]
    if way == 1:
        edges = sorted(dice.sample(range(1, len(data)), min(len(data) - 1, dice.randrange(1, 12))))
    else:
        edges = list(range(1, min(len(data), 200)))
    return [data[start:end] for start, end in zip([0, *edges], [*edges, len(data)], strict=True)]
