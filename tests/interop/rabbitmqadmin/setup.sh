#!/bin/sh
# rabbitmqadmin v2 from its crate; some minutes.
set -eu
mkdir -p ../../../.interop/rabbitmqadmin
cargo install --quiet --locked rabbitmqadmin@2.35.0 --root ../../../.interop/rabbitmqadmin
