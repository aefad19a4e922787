"""The methods of AMQP 0-9-1 and those RabbitMQ added to them: one frozen class each.

A table in the form of classes: ids and name above, then the fields in the order and with the types of the wire. How
they become octets stands in fields.py. Not here: which side may send what and when, and what a method does.
"""

from typing import ClassVar

from msgspec import field

from flowmq.amqp.constants import REPLY_SUCCESS
from flowmq.amqp.fields import (
    Bit,
    FieldTable,
    Long,
    LongLong,
    LongOctets,
    LongString,
    Octet,
    Short,
    ShortString,
)

# This file is the way to the methods: what else of method.py callers need is had from here too.
from flowmq.amqp.method import METHODS as METHODS
from flowmq.amqp.method import Method as Method
from flowmq.amqp.method import decode_method as decode_method
from flowmq.amqp.method import method
from flowmq.amqp.method import undecodable as undecodable
from flowmq.amqp.tables import Table

# One blank line between methods: this is a table.
# fmt: off

# ---------------------------------------------------------------------------------------------------- connection

@method(10, 10, "connection.start")
class ConnectionStart(Method, frozen=True):
    version_major: Octet
    version_minor: Octet
    server_properties: FieldTable
    mechanisms: LongString = "PLAIN AMQPLAIN"
    locales: LongString = "en_US"

@method(10, 11, "connection.start-ok")
class ConnectionStartOk(Method, frozen=True):
    client_properties: FieldTable
    mechanism: ShortString
    response: LongOctets
    locale: ShortString = "en_US"

@method(10, 20, "connection.secure")
class ConnectionSecure(Method, frozen=True):
    challenge: LongOctets

@method(10, 21, "connection.secure-ok")
class ConnectionSecureOk(Method, frozen=True):
    response: LongOctets

@method(10, 30, "connection.tune")
class ConnectionTune(Method, frozen=True):
    channel_max: Short
    frame_max: Long
    heartbeat: Short

@method(10, 31, "connection.tune-ok")
class ConnectionTuneOk(Method, frozen=True):
    channel_max: Short
    frame_max: Long
    heartbeat: Short

@method(10, 40, "connection.open")
class ConnectionOpen(Method, frozen=True):
    virtual_host: ShortString
    reserved_1: ClassVar[ShortString] = ""
    reserved_2: ClassVar[Bit] = False

@method(10, 41, "connection.open-ok")
class ConnectionOpenOk(Method, frozen=True):
    reserved_1: ClassVar[ShortString] = ""

@method(10, 50, "connection.close")
class ConnectionClose(Method, frozen=True):
    reply_code: Short = REPLY_SUCCESS
    reply_text: ShortString = ""
    class_id: Short = 0
    method_id: Short = 0

@method(10, 51, "connection.close-ok")
class ConnectionCloseOk(Method, frozen=True): ...

@method(10, 60, "connection.blocked", synchronous=False)
class ConnectionBlocked(Method, frozen=True):
    reason: ShortString

@method(10, 61, "connection.unblocked", synchronous=False)
class ConnectionUnblocked(Method, frozen=True): ...

@method(10, 70, "connection.update-secret")
class ConnectionUpdateSecret(Method, frozen=True):
    new_secret: LongString
    reason: ShortString

@method(10, 71, "connection.update-secret-ok")
class ConnectionUpdateSecretOk(Method, frozen=True): ...

# ------------------------------------------------------------------------------------------------------- channel

@method(20, 10, "channel.open")
class ChannelOpen(Method, frozen=True):
    reserved_1: ClassVar[ShortString] = ""

@method(20, 11, "channel.open-ok")
class ChannelOpenOk(Method, frozen=True):
    reserved_1: ClassVar[LongString] = ""

@method(20, 20, "channel.flow")
class ChannelFlow(Method, frozen=True):
    active: Bit

@method(20, 21, "channel.flow-ok")
class ChannelFlowOk(Method, frozen=True):
    active: Bit

@method(20, 40, "channel.close")
class ChannelClose(Method, frozen=True):
    reply_code: Short = REPLY_SUCCESS
    reply_text: ShortString = ""
    class_id: Short = 0
    method_id: Short = 0

@method(20, 41, "channel.close-ok")
class ChannelCloseOk(Method, frozen=True): ...

# ------------------------------------------------------------------------------------------------------ exchange

@method(40, 10, "exchange.declare")
class ExchangeDeclare(Method, frozen=True):
    reserved_1: ClassVar[Short] = 0
    exchange: ShortString
    type: ShortString
    passive: Bit = False
    durable: Bit = False
    auto_delete: Bit = False
    internal: Bit = False
    nowait: Bit = False
    arguments: FieldTable = field(default_factory=Table)

@method(40, 11, "exchange.declare-ok")
class ExchangeDeclareOk(Method, frozen=True): ...

@method(40, 20, "exchange.delete")
class ExchangeDelete(Method, frozen=True):
    reserved_1: ClassVar[Short] = 0
    exchange: ShortString
    if_unused: Bit = False
    nowait: Bit = False

@method(40, 21, "exchange.delete-ok")
class ExchangeDeleteOk(Method, frozen=True): ...

@method(40, 30, "exchange.bind")
class ExchangeBind(Method, frozen=True):
    reserved_1: ClassVar[Short] = 0
    destination: ShortString
    source: ShortString
    routing_key: ShortString
    nowait: Bit = False
    arguments: FieldTable = field(default_factory=Table)

@method(40, 31, "exchange.bind-ok")
class ExchangeBindOk(Method, frozen=True): ...

@method(40, 40, "exchange.unbind")
class ExchangeUnbind(Method, frozen=True):
    reserved_1: ClassVar[Short] = 0
    destination: ShortString
    source: ShortString
    routing_key: ShortString
    nowait: Bit = False
    arguments: FieldTable = field(default_factory=Table)

@method(40, 51, "exchange.unbind-ok")
class ExchangeUnbindOk(Method, frozen=True): ...

# --------------------------------------------------------------------------------------------------------- queue

@method(50, 10, "queue.declare")
class QueueDeclare(Method, frozen=True):
    reserved_1: ClassVar[Short] = 0
    queue: ShortString = ""
    passive: Bit = False
    durable: Bit = False
    exclusive: Bit = False
    auto_delete: Bit = False
    nowait: Bit = False
    arguments: FieldTable = field(default_factory=Table)

@method(50, 11, "queue.declare-ok")
class QueueDeclareOk(Method, frozen=True):
    queue: ShortString
    message_count: Long
    consumer_count: Long

@method(50, 20, "queue.bind")
class QueueBind(Method, frozen=True):
    reserved_1: ClassVar[Short] = 0
    queue: ShortString
    exchange: ShortString
    routing_key: ShortString
    nowait: Bit = False
    arguments: FieldTable = field(default_factory=Table)

@method(50, 21, "queue.bind-ok")
class QueueBindOk(Method, frozen=True): ...

@method(50, 50, "queue.unbind")
class QueueUnbind(Method, frozen=True):
    reserved_1: ClassVar[Short] = 0
    queue: ShortString
    exchange: ShortString
    routing_key: ShortString
    arguments: FieldTable = field(default_factory=Table)

@method(50, 51, "queue.unbind-ok")
class QueueUnbindOk(Method, frozen=True): ...

@method(50, 30, "queue.purge")
class QueuePurge(Method, frozen=True):
    reserved_1: ClassVar[Short] = 0
    queue: ShortString = ""
    nowait: Bit = False

@method(50, 31, "queue.purge-ok")
class QueuePurgeOk(Method, frozen=True):
    message_count: Long

@method(50, 40, "queue.delete")
class QueueDelete(Method, frozen=True):
    reserved_1: ClassVar[Short] = 0
    queue: ShortString = ""
    if_unused: Bit = False
    if_empty: Bit = False
    nowait: Bit = False

@method(50, 41, "queue.delete-ok")
class QueueDeleteOk(Method, frozen=True):
    message_count: Long

# --------------------------------------------------------------------------------------------------------- basic

@method(60, 10, "basic.qos")
class BasicQos(Method, frozen=True):
    prefetch_size: Long = 0
    prefetch_count: Short = 0
    global_: Bit = False  # global is a word of Python's

@method(60, 11, "basic.qos-ok")
class BasicQosOk(Method, frozen=True): ...

@method(60, 20, "basic.consume")
class BasicConsume(Method, frozen=True):
    reserved_1: ClassVar[Short] = 0
    queue: ShortString = ""
    consumer_tag: ShortString = ""
    no_local: Bit = False
    no_ack: Bit = False
    exclusive: Bit = False
    nowait: Bit = False
    arguments: FieldTable = field(default_factory=Table)

@method(60, 21, "basic.consume-ok")
class BasicConsumeOk(Method, frozen=True):
    consumer_tag: ShortString

@method(60, 30, "basic.cancel")
class BasicCancel(Method, frozen=True):
    consumer_tag: ShortString
    nowait: Bit = False

@method(60, 31, "basic.cancel-ok")
class BasicCancelOk(Method, frozen=True):
    consumer_tag: ShortString

@method(60, 40, "basic.publish", synchronous=False, has_content=True)
class BasicPublish(Method, frozen=True):
    reserved_1: ClassVar[Short] = 0
    exchange: ShortString
    routing_key: ShortString
    mandatory: Bit = False
    immediate: Bit = False

@method(60, 50, "basic.return", synchronous=False, has_content=True)
class BasicReturn(Method, frozen=True):
    reply_code: Short
    reply_text: ShortString
    exchange: ShortString
    routing_key: ShortString

@method(60, 60, "basic.deliver", synchronous=False, has_content=True)
class BasicDeliver(Method, frozen=True):
    consumer_tag: ShortString
    delivery_tag: LongLong
    redelivered: Bit
    exchange: ShortString
    routing_key: ShortString

@method(60, 70, "basic.get")
class BasicGet(Method, frozen=True):
    reserved_1: ClassVar[Short] = 0
    queue: ShortString = ""
    no_ack: Bit = False

@method(60, 71, "basic.get-ok", has_content=True)
class BasicGetOk(Method, frozen=True):
    delivery_tag: LongLong
    redelivered: Bit
    exchange: ShortString
    routing_key: ShortString
    message_count: Long

@method(60, 72, "basic.get-empty")
class BasicGetEmpty(Method, frozen=True):
    reserved_1: ClassVar[ShortString] = ""

@method(60, 80, "basic.ack", synchronous=False)
class BasicAck(Method, frozen=True):
    delivery_tag: LongLong
    multiple: Bit = False

@method(60, 90, "basic.reject", synchronous=False)
class BasicReject(Method, frozen=True):
    delivery_tag: LongLong
    requeue: Bit = False

@method(60, 100, "basic.recover-async", synchronous=False)
class BasicRecoverAsync(Method, frozen=True):
    requeue: Bit = False

@method(60, 110, "basic.recover")
class BasicRecover(Method, frozen=True):
    requeue: Bit = False

@method(60, 111, "basic.recover-ok")
class BasicRecoverOk(Method, frozen=True): ...

@method(60, 120, "basic.nack", synchronous=False)
class BasicNack(Method, frozen=True):
    delivery_tag: LongLong
    multiple: Bit = False
    requeue: Bit = False

# ------------------------------------------------------------------------------------------------------------ tx

@method(90, 10, "tx.select")
class TxSelect(Method, frozen=True): ...

@method(90, 11, "tx.select-ok")
class TxSelectOk(Method, frozen=True): ...

@method(90, 20, "tx.commit")
class TxCommit(Method, frozen=True): ...

@method(90, 21, "tx.commit-ok")
class TxCommitOk(Method, frozen=True): ...

@method(90, 30, "tx.rollback")
class TxRollback(Method, frozen=True): ...

@method(90, 31, "tx.rollback-ok")
class TxRollbackOk(Method, frozen=True): ...

# ------------------------------------------------------------------------------------------------------- confirm

@method(85, 10, "confirm.select")
class ConfirmSelect(Method, frozen=True):
    nowait: Bit = False

@method(85, 11, "confirm.select-ok")
class ConfirmSelectOk(Method, frozen=True): ...
