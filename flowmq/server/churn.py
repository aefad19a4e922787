"""What has come and gone since the process began: connections, channels, log-ins. Plain numbers for those who watch."""

from dataclasses import dataclass


@dataclass(slots=True)
class Churn:
    connections_opened: int = 0
    connections_closed: int = 0
    channels_opened: int = 0
    channels_closed: int = 0
    log_ins_succeeded: int = 0
    log_ins_failed: int = 0
