"""How fast new clients are let in: so many a second, and as many at once as come in one second.

Whoever comes too early is accepted and not read until it is its turn.
"""

BURST_SECONDS = 1.0


class Pace:
    """`per_second` 0: as they come. Time is an argument, in seconds on any clock that does not go back."""

    def __init__(self, per_second: float) -> None:
        self.interval = 1 / per_second if per_second else 0.0
        self.next_at = 0.0  # when whoever comes next would have its turn, were there no bursts

    def wait_seconds(self, now: float, at_most: float) -> float | None:
        """How long the client that came now has to wait; None when it would be longer than `at_most`."""
        if not self.interval:
            return 0.0
        turn = max(self.next_at, now - BURST_SECONDS + self.interval)
        wait = max(0.0, turn - now)
        if wait > at_most:
            return None
        self.next_at = turn + self.interval
        return wait
