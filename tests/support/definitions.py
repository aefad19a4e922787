"""A file of definitions as RabbitMQ 3.10 has written it."""

import json
from pathlib import Path
from typing import Any

RABBITMQ_FILE = Path(__file__).parents[1] / "data" / "rabbitmq-3.10-definitions.json"


def rabbitmq_definitions() -> dict[str, Any]:
    return dict(json.loads(RABBITMQ_FILE.read_text("utf-8")))
