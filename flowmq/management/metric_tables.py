"""Which metric shows which number: (name, type, key, help)."""

NODE_GAUGES = (
    ("rabbitmq_connections", "gauge", "connections", "Connections currently open"),
    ("rabbitmq_channels", "gauge", "channels", "Channels currently open"),
    ("rabbitmq_consumers", "gauge", "consumers", "Consumers currently connected"),
    ("rabbitmq_queues", "gauge", "queues", "Queues available"),
    ("rabbitmq_exchanges", "gauge", "exchanges", "Exchanges available"),
    ("rabbitmq_process_open_fds", "gauge", "open_files", "Open file descriptors"),
    ("rabbitmq_process_max_fds", "gauge", "open_files_max", "Open file descriptors limit"),
    ("rabbitmq_process_open_tcp_sockets", "gauge", "sockets", "Open TCP sockets"),
    ("rabbitmq_process_max_tcp_sockets", "gauge", "open_files_max", "Open TCP sockets limit"),
    ("rabbitmq_process_resident_memory_bytes", "gauge", "resident_bytes", "Memory used in bytes"),
    ("rabbitmq_resident_memory_limit_bytes", "gauge", "memory_limit", "Memory high watermark in bytes"),
    ("rabbitmq_disk_space_available_bytes", "gauge", "disk_free", "Disk space available in bytes"),
    ("rabbitmq_disk_space_available_limit_bytes", "gauge", "disk_free_limit", "Free disk space low watermark in bytes"),
    ("rabbitmq_erlang_uptime_seconds", "gauge", "uptime_seconds", "Node uptime"),
)
CHURN = (
    ("rabbitmq_connections_opened_total", "counter", "connections_opened", "Total number of connections opened"),
    ("rabbitmq_connections_closed_total", "counter", "connections_closed", "Total number of connections closed"),
    ("rabbitmq_channels_opened_total", "counter", "channels_opened", "Total number of channels opened"),
    ("rabbitmq_channels_closed_total", "counter", "channels_closed", "Total number of channels closed"),
    ("rabbitmq_queues_declared_total", "counter", "queues_declared", "Total number of queues declared"),
    ("rabbitmq_queues_created_total", "counter", "queues_created", "Total number of queues created"),
    ("rabbitmq_queues_deleted_total", "counter", "queues_deleted", "Total number of queues deleted"),
)
LOG_INS = (
    ("rabbitmq_auth_attempts_total", "counter", "attempts", "Total number of log-ins"),
    ("rabbitmq_auth_attempts_succeeded_total", "counter", "log_ins_succeeded", "Log-ins that succeeded"),
    ("rabbitmq_auth_attempts_failed_total", "counter", "log_ins_failed", "Log-ins that failed"),
)
# Families of /metrics/detailed that tell of the node, and not of objects.
NODE_FAMILIES = {"connection_churn_metrics": CHURN, "auth_attempt_metrics": LOG_INS, "node_metrics": NODE_GAUGES}
GLOBAL = (
    ("rabbitmq_global_messages_received_total", "counter", "publish_in", "Messages received from publishers"),
    (
        *("rabbitmq_global_messages_received_confirm_total", "counter", "confirmable"),
        "Messages received from publishers using publisher confirms",
    ),
    ("rabbitmq_global_messages_routed_total", "counter", "publish_out", "Messages routed to a queue"),
    (
        *("rabbitmq_global_messages_unroutable_dropped_total", "counter", "drop_unroutable"),
        "Messages published as non-mandatory into an exchange and dropped as unroutable",
    ),
    (
        *("rabbitmq_global_messages_unroutable_returned_total", "counter", "return_unroutable"),
        "Messages published as mandatory into an exchange and returned to the publisher as unroutable",
    ),
    ("rabbitmq_global_messages_confirmed_total", "counter", "confirm", "Messages confirmed to publishers"),
    ("rabbitmq_global_publishers", "gauge", "publishers", "Publishers currently connected"),
    ("rabbitmq_global_consumers", "gauge", "consumers", "Consumers currently connected"),
)
GLOBAL_BY_QUEUE_TYPE = (
    ("rabbitmq_global_messages_delivered_total", "counter", "delivered", "Messages delivered to consumers"),
    (
        *("rabbitmq_global_messages_delivered_consume_manual_ack_total", "counter", "deliver"),
        "Messages delivered to consumers that must acknowledge",
    ),
    (
        *("rabbitmq_global_messages_delivered_consume_auto_ack_total", "counter", "deliver_no_ack"),
        "Messages delivered to consumers that need not acknowledge",
    ),
    (
        *("rabbitmq_global_messages_delivered_get_manual_ack_total", "counter", "get"),
        "Messages delivered by basic.get to be acknowledged",
    ),
    (
        *("rabbitmq_global_messages_delivered_get_auto_ack_total", "counter", "get_no_ack"),
        "Messages delivered by basic.get without acknowledgement",
    ),
    ("rabbitmq_global_messages_get_empty_total", "counter", "get_empty", "basic.get of an empty queue"),
    ("rabbitmq_global_messages_redelivered_total", "counter", "redeliver", "Messages redelivered to consumers"),
    ("rabbitmq_global_messages_acknowledged_total", "counter", "ack", "Messages acknowledged by consumers"),
)
# Sums over channels, by the names that RabbitMQ had before its global ones: earlier revisions of the dashboards ask for
# these, and rules of alerts.
CHANNEL_TOTALS = (
    ("rabbitmq_channel_consumers", "gauge", "consumers", "Consumers on channels"),
    ("rabbitmq_channel_messages_unacked", "gauge", "unacked", "Delivered but not yet acknowledged messages"),
    ("rabbitmq_channel_messages_unconfirmed", "gauge", "unconfirmed", "Published but not yet confirmed"),
    ("rabbitmq_channel_messages_published_total", "counter", "publish_in", "Messages published into exchanges"),
    ("rabbitmq_channel_messages_confirmed_total", "counter", "confirm", "Messages published and confirmed"),
    (
        *("rabbitmq_channel_messages_unroutable_returned_total", "counter", "return_unroutable"),
        "Messages published as mandatory and returned to the publisher as unroutable",
    ),
    (
        *("rabbitmq_channel_messages_unroutable_dropped_total", "counter", "drop_unroutable"),
        "Messages published as non-mandatory and dropped as unroutable",
    ),
    ("rabbitmq_channel_messages_delivered_total", "counter", "deliver_no_ack", "Delivered in automatic ack mode"),
    ("rabbitmq_channel_messages_delivered_ack_total", "counter", "deliver", "Delivered in manual ack mode"),
    ("rabbitmq_channel_messages_redelivered_total", "counter", "redeliver", "Redelivered to consumers"),
    ("rabbitmq_channel_messages_acked_total", "counter", "ack", "Acknowledged by consumers"),
    ("rabbitmq_channel_get_total", "counter", "get_no_ack", "Taken by basic.get in automatic ack mode"),
    ("rabbitmq_channel_get_ack_total", "counter", "get", "Taken by basic.get in manual ack mode"),
    ("rabbitmq_channel_get_empty_total", "counter", "get_empty", "basic.get of an empty queue"),
)
QUEUE_TOTALS = (
    ("rabbitmq_queue_messages_ready", "gauge", "ready", "Messages ready to be delivered to consumers"),
    ("rabbitmq_queue_messages_unacked", "gauge", "unacked", "Messages delivered to consumers but not yet acknowledged"),
    ("rabbitmq_queue_messages", "gauge", "messages", "Sum of ready and unacknowledged messages"),
    ("rabbitmq_queue_messages_ready_bytes", "gauge", "ready_bytes", "Size in bytes of ready messages"),
    ("rabbitmq_queue_messages_bytes", "gauge", "bytes", "Size in bytes of ready and unacknowledged messages"),
    ("rabbitmq_queue_messages_unacked_bytes", "gauge", "unacked_bytes", "Size in bytes of unacknowledged messages"),
    ("rabbitmq_queue_messages_published_total", "counter", "publish", "Total number of messages published to queues"),
    ("rabbitmq_queue_consumers", "gauge", "consumers", "Consumers on queues"),
    ("flowmq_publishes_refused_total", "counter", "refused", "Publishes that a full queue refused"),
)
JOURNAL = (
    ("flowmq_journal_failed", "gauge", "failed", "1 once the disk has failed: nothing durable is taken any more"),
    ("flowmq_journal_damaged", "gauge", "damaged", "1 once something on disk did not check"),
    ("flowmq_queues_damaged", "gauge", "stopped", "Queues that have stopped at a damaged message"),
    ("flowmq_journal_used_bytes", "gauge", "used_bytes", "Octets of the journal's segments in use"),
    ("flowmq_journal_live_bytes", "gauge", "live_bytes", "Octets of it that are needed"),
    ("flowmq_journal_dead_bytes", "gauge", "dead_bytes", "Octets of it that are not needed any more"),
    ("flowmq_journal_writes_total", "counter", "writes", "Batches written"),
    ("flowmq_journal_syncs_total", "counter", "syncs", "Times the disk was asked to make batches durable"),
    ("flowmq_journal_bytes_written_total", "counter", "bytes_written", "Octets written"),
    (
        "flowmq_journal_segments_compacted_total",
        "counter",
        "compacted",
        "Segments given back by compaction",
    ),
    ("rabbitmq_io_write_ops_total", "counter", "writes", "Total number of I/O write operations"),
    ("rabbitmq_io_write_bytes_total", "counter", "bytes_written", "Total number of I/O bytes written"),
    ("rabbitmq_io_sync_ops_total", "counter", "syncs", "Total number of I/O sync operations"),
    ("rabbitmq_io_sync_time_seconds_total", "counter", "sync_seconds", "Total I/O sync time"),
)
