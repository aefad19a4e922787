"""What the tests stand on: an own codec and client of the protocol, and the broker as a process."""
