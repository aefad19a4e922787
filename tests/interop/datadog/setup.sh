#!/bin/sh
# Datadog's toolkit for checks, with those of its dependencies that are needed outside of its agent.
set -eu
work=../../../.interop/datadog
python3 -m venv "$work"
"$work/bin/pip" install -q --disable-pip-version-check datadog-checks-base==38.7.0 binary==1.0.2 cachetools==7.2.0 \
  certifi cryptography ddtrace==4.13.2 jellyfish==1.2.1 lazy-loader==0.5 prometheus-client==0.26.0 protobuf \
  pydantic==2.13.5 python-dateutil pyyaml requests requests-toolbelt requests-unixsocket2 simplejson urllib3 wrapt
