"""Real client libraries over TCP, unchanged and with their own defaults, against a real broker process."""
