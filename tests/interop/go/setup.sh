#!/bin/sh
# Builds the program twice: as it is, and with the import path of streadway/amqp.
set -eu
work=../../../.interop/go
mkdir -p "$work/streadway"
go build -o "$work/amqp091-go" .
for file in *.go; do
  sed 's|github.com/rabbitmq/amqp091-go|github.com/streadway/amqp|' "$file" >"$work/streadway/$file"
done
cp streadway.mod "$work/streadway/go.mod"
cp streadway.sum "$work/streadway/go.sum"
cd "$work/streadway"
go build -o ../amqp .
