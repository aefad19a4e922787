"""How many files the process may have open, and what of that is not for clients.

Each connection is one. Clients that took them all would leave the journal none for its next segment, which is a failed
disk to it, and none for the processes beside the broker, for the control socket and for whoever looks after memory.
"""

import logging
import resource
import time

RESERVED_SHARE = 4  # a fourth of them
RESERVED_MAX = 1024
TELL_SECONDS = 10.0
log = logging.getLogger("flowmq")


def allow_many() -> None:
    """The usual soft limit of 1024 is for other programs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class OpenFiles:
    def __init__(self) -> None:
        self.told_next = 0.0

    def has_room_for(self, descriptor: int) -> bool:
        """May a client have it? The lowest that is free is always given out: what lies above it tells how many are."""
        most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if most == resource.RLIM_INFINITY or descriptor < most - min(most // RESERVED_SHARE, RESERVED_MAX):
            return True
        if time.monotonic() >= self.told_next:
            self.told_next = time.monotonic() + TELL_SECONDS
            log.error("clients are turned away: of %d files that may be open there are too few left", most)
        return False
