"""Is the broker that uses DATA_DIR there, and does its event loop turn? Exit code 0 when it answers a ping."""

import sys
from pathlib import Path

from flowmq.server.control import place
from flowmq.server.control.client import ControlConnection, NoBroker

SECONDS = 5.0

try:
    with ControlConnection(Path(sys.argv[1]) / place.NAME) as control:
        control.socket.settimeout(SECONDS)
        control.call("node.ping")
except (NoBroker, OSError) as error:
    sys.exit(str(error) or type(error).__name__)
