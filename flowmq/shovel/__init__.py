"""The process of the shovels: moves messages between brokers, over AMQP as any client, beside the broker that has them.

It asks its broker over the control socket what is to be moved and tells it how that goes. Nothing here is needed for a
message to be safe: what is under way when the process dies is with the source still.
"""
