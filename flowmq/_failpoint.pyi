FAILPOINTS: tuple[str, ...]
has_failpoints: bool
