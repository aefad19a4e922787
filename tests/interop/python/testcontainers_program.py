"""testcontainers for Python starts FlowMQ's image where it would start RabbitMQ's.

testcontainers_program.py management ...     the environment's FLOWMQ_IMAGE names the image, DOCKER_HOST who runs it
"""

import os
from collections.abc import Callable

import pika
from report import check
from testcontainers.community.rabbitmq import RabbitMqContainer

IMAGE = os.environ["FLOWMQ_IMAGE"]


def used(**settings: str) -> Callable[[], None]:
    def use() -> None:
        with RabbitMqContainer(IMAGE, **settings) as container:
            connection = pika.BlockingConnection(container.get_connection_params())
            channel = connection.channel()
            channel.queue_declare("jobs", durable=True)
            channel.confirm_delivery()
            channel.basic_publish("", "jobs", b"one", mandatory=True)
            _, _, body = channel.basic_get("jobs", auto_ack=True)
            assert body == b"one", body
            connection.close()

    return use


def refused() -> None:
    """Its vhost is the only one, and only its user is let in."""
    with RabbitMqContainer(IMAGE, username="ann", password="secret", vhost="own") as container:
        parameters = container.get_connection_params()
        for change in ("credentials", "virtual_host"):
            wrong = pika.ConnectionParameters(
                host=parameters.host,
                port=parameters.port,
                virtual_host="/" if change == "virtual_host" else "own",
                credentials=pika.PlainCredentials("guest", "guest")
                if change == "credentials"
                else parameters.credentials,
            )
            try:
                pika.BlockingConnection(wrong).close()
            except (pika.exceptions.ProbableAuthenticationError, pika.exceptions.ProbableAccessDeniedError):
                continue
            raise AssertionError(f"let in with another {change}")


def main() -> None:
    check("container-as-it-is", used())
    check("container-with-a-user-and-a-vhost", used(username="ann", password="secret", vhost="own"))
    check("container-lets-nobody-else-in", refused)


if __name__ == "__main__":
    main()
