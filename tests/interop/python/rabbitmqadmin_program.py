"""rabbitmqadmin v2, the command of RabbitMQ 4: its commands one after the other, each of which must succeed.

rabbitmqadmin_program.py management HTTP-API AMQP METRICS

A client with a queue "busy", a consumer of it and two unacknowledged messages must be there. The command is strict
about what it is answered: every key that it knows must be there, of the type that it expects.
"""

import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

from report import SECONDS, check

_, _, HTTP, AMQP, _ = sys.argv
URL = urlsplit(HTTP)
COMMANDS = """
show overview
show churn
show endpoint
nodes list
nodes memory_breakdown_in_percent --node {node}
nodes memory_breakdown_in_bytes --node {node}
vhosts declare --name shop --description d --default-queue-type quorum
vhosts list
users declare --name ann --password secret --tags monitoring
users list
users connections --username guest
permissions declare --vhost / --user ann --configure '.*' --read '.*' --write '.*'
permissions list
user_limits declare --user ann --name max-connections --value 10
user_limits list
vhost_limits declare --name max-queues --value 100
vhost_limits list
exchanges declare --name in --type topic --durable true
exchanges list
queues declare --name jobs --type classic --durable true --arguments '{"x-max-length":5}'
queues declare --name safe --type quorum
queues list
queues show --name jobs
bindings declare --source in --destination-type queue --destination jobs --routing-key 'a.#' --arguments '{}'
bindings list
publish message --exchange in --routing-key a.b --payload hello --properties '{}'
get messages --queue jobs --count 1 --ack-mode ack_requeue_false
queues purge --name jobs
policies declare --name p --pattern ^jobs$ --apply-to queues --priority 1 --definition '{"max-length":7}'
policies list
policies list_in --vhost /
policies list_matching_object --name jobs --type queues
operator_policies declare --name o --pattern ^jobs$ --apply-to queues --priority 1 --definition '{"max-length":9}'
operator_policies list
global_parameters set --name site --value '{"owner":"ann"}'
global_parameters list
shovels declare_amqp091 --name s --source-uri amqp:// --source-queue a --destination-uri amqp:// --destination-queue b
shovels list_all
parameters list_all
shovels delete --name s
connections list
channels list
list consumers
health_check local_alarms
health_check cluster_wide_alarms
health_check node_is_quorum_critical
health_check port_listener --port {port}
health_check protocol_listener --protocol amqp
deprecated_features list
feature_flags list
feature_flags enable_all
definitions export --file {directory}/all.json
definitions import --file {directory}/all.json
definitions export_from_vhost --file {directory}/one.json
rebalance queues
federation list_all_links
federation list_all_upstreams
auth_attempts stats --node {node}
plugins list_all
bindings delete --source in --destination-type queue --destination jobs --routing-key 'a.#' --arguments '{}'
policies delete --name p
operator_policies delete --name o
global_parameters clear --name site
vhost_limits delete --name max-queues
user_limits delete --user ann --name max-connections
permissions delete --vhost / --user ann
users delete --name ann
exchanges delete --name in
queues delete --name jobs
queues delete --name safe
vhosts delete --name shop
"""
TOLD = (*("--host", str(URL.hostname), "--port", str(URL.port)), "--username", "guest", "--password", "guest")


def run(*words: str) -> str:
    ended = subprocess.run(
        [os.environ["RABBITMQADMIN"], *TOLD, *words], capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert ended.returncode == 0, (ended.returncode, ended.stderr, ended.stdout)
    return ended.stdout


def main() -> None:
    node = next(word for word in run("nodes", "list").split() if "@" in word)
    with tempfile.TemporaryDirectory() as directory:
        places = {"{node}": node, "{port}": str(urlsplit(AMQP).port), "{directory}": str(Path(directory))}
        for number, line in enumerate(COMMANDS.strip().splitlines(), 1):
            command = line
            for place, value in places.items():
                command = command.replace(place, value)
            words = shlex.split(command)
            check("-".join([*line.split("--")[0].split(), str(number)]), lambda words=words: run(*words))


if __name__ == "__main__":
    main()
