import socket
from collections.abc import Callable
from typing import Any

from flowmq._sockets import Sockets

class Listening:
    def __init__(
        self,
        sockets: Sockets,
        listening: socket.socket,
        accepted: Callable[[socket.socket, Any], None],
        failed: Callable[[OSError], None],
    ) -> None: ...
    def begin(self) -> None: ...
    def stop(self) -> None: ...
