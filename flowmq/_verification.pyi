from flowmq._journal import Journal

class Verification:
    checked_octets: int
    def __init__(self, journal: Journal) -> None: ...
    # Look at the next piece. False when there is none.
    def step(self) -> bool: ...
