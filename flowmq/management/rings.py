"""Fixed-size histories of counters, and the rates that follow from them. Knows no broker and no clock."""

from array import array
from collections.abc import Iterator, Sequence


class Ring:
    """The last samples of one object: rows of numbers, each taken at a time."""

    __slots__ = ("count", "size", "times", "values", "width")

    def __init__(self, size: int, width: int) -> None:
        self.size, self.width = size, width
        self.count = 0
        self.times = array("d", bytes(8 * size))
        self.values = array("q", bytes(8 * size * width))

    def add(self, at: float, values: Sequence[int]) -> None:
        place = self.count % self.size
        self.times[place] = at
        self.values[place * self.width : (place + 1) * self.width] = array("q", values)
        self.count += 1

    @property
    def last_at(self) -> float:
        return self.times[(self.count - 1) % self.size] if self.count else 0.0

    def last(self) -> list[int]:
        return self.row(self.count - 1)

    def row(self, number: int) -> list[int]:
        place = number % self.size
        return list(self.values[place * self.width : (place + 1) * self.width])

    def rate(self, field: int) -> float:
        """Per second, between the last two samples. A counter that has fallen began anew."""
        if self.count < 2:
            return 0.0
        newest, before = (self.count - 1) % self.size, (self.count - 2) % self.size
        seconds = self.times[newest] - self.times[before]
        change = self.values[newest * self.width + field] - self.values[before * self.width + field]
        return change / seconds if seconds > 0 else 0.0

    def samples(self, field: int) -> Iterator[tuple[float, int]]:
        """(when, value), the newest first."""
        for number in range(self.count - 1, max(-1, self.count - 1 - self.size), -1):
            place = number % self.size
            yield self.times[place], self.values[place * self.width + field]


class Ages:
    """When a queue's messages came, as far as samples tell: pairs of a time and the next sequence number then.

    Of a fixed size: when it is full every second pair goes, so that what is long ago is known less exactly.
    """

    SIZE = 64
    __slots__ = ("pairs",)

    def __init__(self) -> None:
        self.pairs: list[tuple[float, int]] = []

    def note(self, at: float, next_sequence: int) -> None:
        if self.pairs and self.pairs[-1][1] == next_sequence:
            self.pairs[-1] = (self.pairs[-1][0], next_sequence)
            return
        if len(self.pairs) >= self.SIZE:
            del self.pairs[1 : self.SIZE - 1 : 2]
        self.pairs.append((at, next_sequence))

    def forget_before(self, sequence: int) -> None:
        """What is older than the oldest message is of no use any more."""
        keep = next((at for at, pair in enumerate(self.pairs) if pair[1] > sequence), len(self.pairs))
        if keep > 1:
            del self.pairs[: keep - 1]

    def came_at(self, sequence: int) -> float | None:
        """At the latest then: the first sample at which it was there."""
        return next((at for at, next_sequence in self.pairs if next_sequence > sequence), None)
