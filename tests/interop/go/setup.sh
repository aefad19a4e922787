#!/bin/sh
# Builds the program twice: as it is, and with the import path of streadway/amqp and the files in streadway/. Besides,
# the one of rabbit-hole, a client library of the HTTP API.
set -eu
work=../../../.interop/go
mkdir -p "$work/streadway"
go build -o "$work/amqp091-go" .
(cd rabbit_hole && go build -o "../$work/rabbit-hole" .)
for file in *.go; do
  sed 's|github.com/rabbitmq/amqp091-go|github.com/streadway/amqp|' "$file" >"$work/streadway/$file"
done
cp streadway/* "$work/streadway"
cd "$work/streadway"
go build -o ../amqp .
