from asyncio import AbstractEventLoop
from collections.abc import Callable
from typing import Any

def set_busy_poll(
    schedule: Callable[[Callable[[], None]], object],
    nanoseconds: int,
    look_for: Callable[[int], bool] | None = None,
) -> None: ...
def look_again() -> None: ...
def soon(loop: AbstractEventLoop, callback: Callable[..., object], *arguments: Any) -> None: ...
