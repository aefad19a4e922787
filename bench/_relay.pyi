def relay(
    publishers: list[int],
    consumers: list[int],
    method: bytes,
    *,
    tag_at: int,
    publish_bytes: int,
    content_at: int,
    confirms: bool,
) -> None: ...
def respond(descriptor: int, answers: list[bytes]) -> None: ...
