"""Names of counters that cross the control socket as rows of numbers: both ends go by these."""

CHANNEL_STATS = (
    *("publish", "confirm", "return_unroutable", "drop_unroutable", "deliver", "deliver_no_ack", "get", "get_no_ack"),
    *("get_empty", "deliver_get"),
)
