"""python -m flowmq: the same as the flowmq command."""

from flowmq.server.command import main

main()
