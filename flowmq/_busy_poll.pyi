from collections.abc import Callable

def set_busy_poll(
    schedule: Callable[[Callable[[], None]], object],
    nanoseconds: int,
    look_for: Callable[[int], None] | None = None,
) -> None: ...
def look_again() -> None: ...
