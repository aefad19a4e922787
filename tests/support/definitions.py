"""A file of definitions as RabbitMQ 3.10 has written it."""

import json
from pathlib import Path
from typing import Any

RABBITMQ_FILE = Path(__file__).parents[1] / "data" / "rabbitmq-3.10-definitions.json"


def rabbitmq_definitions() -> dict[str, Any]:
    """Without what is refused: limits."""
    definitions = json.loads(RABBITMQ_FILE.read_text("utf-8"))
    for user in definitions["users"]:
        user["limits"] = {}
    definitions["parameters"] = [one for one in definitions["parameters"] if one["component"] != "vhost-limits"]
    return dict(definitions)
