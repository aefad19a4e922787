#!/bin/sh
# testcontainers for Java and for Python. The image is made beforehand, from the Dockerfile, by whatever can do that here.
set -eu
: "${FLOWMQ_IMAGE:?names the image; DOCKER_HOST may say who runs it}"
mvn -q -B compile dependency:copy-dependencies
python3 -m venv ../../../.interop/testcontainers/python
../../../.interop/testcontainers/python/bin/pip install -q --disable-pip-version-check 'testcontainers[rabbitmq]==4.15.0'
