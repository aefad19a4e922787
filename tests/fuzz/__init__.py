"""Any bytes at all either parse or end in a connection.close with the right code (or a plain close before the
handshake is over): never a crash, a hang, or a lost neighbour."""
