"""The protocol as its peers speak it: each test sends frames and reads frames, and knows nothing of the broker inside."""
