#!/bin/sh
# Datadog's check of the HTTP API, of its repository: no registry has it as a package. Where GitHub cannot be reached,
# DATADOG_CHECK names a directory with the two files, had from elsewhere.
set -eu
commit=03d2d30b1dac4398c23e224717194fd859c29cc2
from=https://raw.githubusercontent.com/DataDog/integrations-core/$commit/rabbitmq/datadog_checks/rabbitmq
work=../../../.interop/datadog
sh setup.sh
"$work/bin/pip" install -q --disable-pip-version-check six==1.17.0
mkdir -p "$work/check/rabbitmq_check"
: > "$work/check/rabbitmq_check/__init__.py"
for file in const.py rabbitmq.py; do
  if [ -n "${DATADOG_CHECK:-}" ]; then
    cp "$DATADOG_CHECK/$file" "$work/check/rabbitmq_check/$file"
  else
    curl -fsS --max-time 60 -o "$work/check/rabbitmq_check/$file" "$from/$file"
  fi
done
