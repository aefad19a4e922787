# Puts what a replay found back into a queue and its log. Runs once, before anything else happens to them.
