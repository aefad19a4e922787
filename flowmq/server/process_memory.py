"""What this process takes of the machine's memory, apart from what is counted as it is allocated (_message).

Messages, and what keeps them in order, are counted to the octet at once. Connections, definitions and the interpreter
are not: what they take is the rest of the resident octets, as /proc tells them, looked at a few times a second. What
the allocator has ready for reuse is not in use; when the process gets near its limit, it is given back.
"""

import os
import time

from flowmq._message import (
    free_memory,
    give_back_memory,
    is_freed_memory_kept,
    live_message_bytes,
    live_output_bytes,
)

STATM = "/proc/self/statm"
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
# A limit less than this times what the process takes at its start cannot be meant for the whole of it.
ROOM_FACTOR = 1.6
# Of the limit: where the alarm is. What is under way then, what was looked at a moment ago, and what comes back from
# consumers meanwhile has the rest.
ALARM_SHARE = 0.8
NEAR_SHARE = 0.8  # of the alarm's: from here on it is asked what of it is free
GIVE_BACK_SHARE = 0.9  # likewise: what is free is given back
# Likewise: free memory that may be resident all the same, scattered among what is in use.
FREE_SHARE_MAX = 0.125
REST_FACTOR = 50  # what takes a second is not done again before so many have passed
GIVE_BACK_SECONDS = 1.0
# Of the alarm's: so much beside messages, more than at the start, may be what the collector has not looked at for long.
GARBAGE_SHARE = 0.1
COLLECT_SECONDS = 60.0


def nothing_to_collect() -> None:
    """For a process without a collector of its own."""


def resident_bytes() -> int:
    with open(STATM) as statm:
        return int(statm.read().split()[1]) * PAGE_BYTES


def counted_bytes() -> int:
    return live_message_bytes() + live_output_bytes()


class ProcessMemory:
    """`alarm_bytes`: the most that may be in use without an alarm.

    `uncounted_bytes`: what is in use beside counted_bytes(), when it was looked at last.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.own_bytes = max(resident_bytes() - counted_bytes(), 0) if os.path.exists(STATM) else 0  # at the start
        # Is the limit one for the process? Otherwise it is one for messages alone.
        self.is_whole = not is_freed_memory_kept() and limit_bytes >= ROOM_FACTOR * self.own_bytes > 0
        self.alarm_bytes = int(limit_bytes * ALARM_SHARE) if self.is_whole else limit_bytes
        self.uncounted_bytes = self.own_bytes if self.is_whole else 0
        self.free_next = 0.0
        self.free_bytes = 0
        self.free_bytes_max = int(self.alarm_bytes * FREE_SHARE_MAX)
        self.give_back_next = 0.0
        self.collect = nothing_to_collect
        self.collect_next = 0.0

    def look_for_garbage(self) -> None:
        """While memory is short. Everybody waits meanwhile, and so not often."""
        now = time.monotonic()
        if now >= self.collect_next and self.uncounted_bytes - self.own_bytes >= self.alarm_bytes * GARBAGE_SHARE:
            self.collect()
            self.collect_next = now + COLLECT_SECONDS

    def look(self) -> None:
        if not self.is_whole:
            return
        resident = resident_bytes()
        if resident > self.alarm_bytes * GIVE_BACK_SHARE and self._give_back():
            resident = resident_bytes()
        free = self._free() if resident > self.alarm_bytes * NEAR_SHARE else 0
        rest = resident - counted_bytes() - min(free, self.free_bytes_max)
        # What was allocated and not touched yet is counted, and not resident: the interpreter does not shrink by it.
        self.uncounted_bytes = max(rest, self.own_bytes)

    def _free(self) -> int:
        now = time.monotonic()
        if now >= self.free_next:
            self.free_bytes = free_memory()
            self.free_next = now + (time.monotonic() - now) * REST_FACTOR
        return self.free_bytes

    def _give_back(self) -> bool:
        """Only when there is something, and not all the time: it takes a moment."""
        now = time.monotonic()
        if now < self.give_back_next or self._free() < self.free_bytes_max:
            return False
        give_back_memory()
        taken = time.monotonic() - now
        self.give_back_next = now + max(GIVE_BACK_SECONDS, taken * REST_FACTOR)
        self.free_next = 0.0
        return True
