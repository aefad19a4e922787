from collections.abc import Callable
from typing import Any

def set_settlement_scheduler(schedule: Callable[[Any], None] | None) -> None: ...
