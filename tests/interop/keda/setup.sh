#!/bin/sh
# Builds the program beside everything that KEDA's scalers need, which is much: some minutes, and hundreds of modules.
set -eu
work=../../../.interop/keda
mkdir -p "$work"
cp main.go go.mod "$work"
cd "$work"
go mod tidy
go build -o keda .
