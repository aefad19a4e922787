#!/bin/sh
# Telegraf itself, with the plugins alone that the program configures.
set -eu
mkdir -p ../../../.interop/telegraf
cd ../../../.interop/telegraf
GOBIN=$PWD go install -tags custom,inputs.rabbitmq,outputs.file,serializers.json github.com/influxdata/telegraf/cmd/telegraf@v1.37.2
