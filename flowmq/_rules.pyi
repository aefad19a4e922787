class Undertaker: ...
class Deduplication: ...

class QueueRules:
    ttl_ms: int
    length_max: int
    bytes_max: int
    delivery_limit: int
    consumer_timeout_ms: int
    limited: bool
    delays: bool
    counts_deliveries: bool
    def __init__(
        self,
        *,
        ttl_ms: int | None = None,
        length_max: int | None = None,
        bytes_max: int | None = None,
        overflow: str = "drop-head",
        delivery_limit: int | None = None,
        counts_deliveries: bool = False,
        retry: str = "disabled",
        retry_min_ms: int = 0,
        retry_max_ms: int | None = None,
        consumer_timeout_ms: int | None = None,
        delays: bool = False,
        undertaker: Undertaker | None = None,
        deduplication: Deduplication | None = None,
    ) -> None: ...

def use_timeouts() -> None: ...
def are_timeouts_used() -> bool: ...
