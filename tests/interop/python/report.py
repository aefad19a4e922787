"""One line per behaviour, as the runner reads them; and the message that all libraries exchange."""

import json
from collections.abc import Callable
from typing import Any

SECONDS = 30
BODY = bytes(range(256))
HEADERS: dict[str, Any] = {
    "text": "Grüße",
    "small": 42,
    "large": 5_000_000_000,
    "negative": -5_000_000_000,
    "yes": True,
    "nothing": None,
    "nested": {"inner": "value", "deeper": {"level": 2}},
    "list": ["one", 2, "three"],
}
TEXTS = {
    "content_type": "application/octet-stream",
    "content_encoding": "identity",
    "correlation_id": "correlation-1",
    "reply_to": "replies",
    "message_id": "message-1",
    "type": "parcel",
    "user_id": "guest",
}


def say(line: str) -> None:
    print(line.replace("\n", " "), flush=True)


def check(name: str, behaviour: Callable[[], object]) -> None:
    try:
        behaviour()
    except Exception as failure:
        say(f"FAIL {name} {failure!r}")
    else:
        say(f"ok {name}")


def parcel(**fields: Any) -> None:
    fields["body"] = fields["body"].hex()
    say(f"parcel {json.dumps(fields)}")
