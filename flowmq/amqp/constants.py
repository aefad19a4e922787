"""AMQP's numbers and fixed words: frames, classes, methods, property flags, capabilities.

Reply codes stand with their errors in errors.py, the ids of methods with their fields in methods.py.
"""

from typing import Final

PROTOCOL_HEADER: Final = b"AMQP\x00\x00\x09\x01"
PROTOCOL_HEADER_0_9: Final = b"AMQP\x01\x01\x00\x09"  # some old clients send it and mean 0-9-1
VERSION_MAJOR: Final = 0
VERSION_MINOR: Final = 9

FRAME_METHOD: Final = 1
FRAME_HEADER: Final = 2
FRAME_BODY: Final = 3
FRAME_HEARTBEAT: Final = 8
HEARTBEAT: Final = b"\x08\0\0\0\0\0\0\xce"  # the whole frame
FRAME_END: Final = 0xCE
FRAME_OVERHEAD_BYTES: Final = 8  # type, channel, length and the end octet
FRAME_MIN_BYTES: Final = 4096  # the smallest frame_max a peer may negotiate

REPLY_SUCCESS: Final = 200

CLASS_CONNECTION: Final = 10
CLASS_CHANNEL: Final = 20
CLASS_EXCHANGE: Final = 40
CLASS_QUEUE: Final = 50
CLASS_BASIC: Final = 60
CLASS_CONFIRM: Final = 85
CLASS_TX: Final = 90

# What the broker says it can do, in connection.start. Client libraries switch features on by these very keys.
CAPABILITIES: Final = (
    "publisher_confirms",
    "exchange_exchange_bindings",
    "basic.nack",
    "consumer_cancel_notify",
    "connection.blocked",
    "consumer_priorities",
    "authentication_failure_close",
    "per_consumer_qos",
    "direct_reply_to",
)

# The 16 bits in front of the properties of a content header: one per property, and the two lowest carry none.
FLAG_CONTENT_TYPE: Final = 1 << 15
FLAG_CONTENT_ENCODING: Final = 1 << 14
FLAG_HEADERS: Final = 1 << 13
FLAG_DELIVERY_MODE: Final = 1 << 12
FLAG_PRIORITY: Final = 1 << 11
FLAG_CORRELATION_ID: Final = 1 << 10
FLAG_REPLY_TO: Final = 1 << 9
FLAG_EXPIRATION: Final = 1 << 8
FLAG_MESSAGE_ID: Final = 1 << 7
FLAG_TIMESTAMP: Final = 1 << 6
FLAG_TYPE: Final = 1 << 5
FLAG_USER_ID: Final = 1 << 4
FLAG_APP_ID: Final = 1 << 3
FLAG_CLUSTER_ID: Final = 1 << 2
FLAGS_WITHOUT_PROPERTY: Final = 0b11

DELIVERY_MODE_TRANSIENT: Final = 1
DELIVERY_MODE_PERSISTENT: Final = 2
