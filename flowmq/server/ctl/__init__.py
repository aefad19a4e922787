"""flowmq ctl: the verbs of rabbitmqctl and rabbitmq-diagnostics, asked over the control socket.

`verbs` says what a verb is; the modules beside it are tables and small functions of them. Nothing here knows how a
broker works: it asks, and shows the answer.
"""
