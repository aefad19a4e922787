"""The protocol as its peers speak it: a test sends frames, reads frames, and knows nothing of the broker inside."""
