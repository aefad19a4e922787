"""A broker with a TLS listener: its settings, and where that is."""

import re
import ssl
from dataclasses import replace

from tests.support.broker import Broker
from tests.support.certificates import Files
from tests.support.peer import Peer

LISTENING = re.compile(r"AMQPS listener started on 127\.0\.0\.1:(\d+)")


def tls_settings(files: Files, **others: str) -> dict[str, str]:
    settings = {"listen": "127.0.0.1:0", "certificate": str(files.certificate), "key": str(files.key), **others}
    return {f"FLOWMQ_TLS__{name.upper()}": value for name, value in settings.items()}


def tls_peer(broker: Broker, context: ssl.SSLContext, server_name: str = "localhost") -> Peer:
    port = int(broker.log.wait_for(LISTENING)[1])
    return replace(broker.peer, port=port, tls=context, server_name=server_name)
