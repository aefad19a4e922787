# docker build -t flowmq . && docker run -p 5672:5672 -v flowmq:/var/lib/flowmq flowmq
#
# -e RABBITMQ_DEFAULT_USER=ann -e RABBITMQ_DEFAULT_PASS=secret makes a user for clients outside of the container.
# Settings: a file at /etc/flowmq/flowmq.toml needs the arguments `serve --config /etc/flowmq/flowmq.toml`; single ones
# go by environment, such as -e FLOWMQ_AMQP__HEARTBEAT=30.

FROM python:3.11-slim-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY pyproject.toml setup.py MANIFEST.in README.md LICENSE ./
COPY flowmq flowmq
RUN python -m venv /opt/flowmq && /opt/flowmq/bin/pip install --no-cache-dir '.[shovel]'

FROM python:3.11-slim-bookworm
RUN useradd --system --uid 5672 --home-dir /var/lib/flowmq --shell /usr/sbin/nologin flowmq \
    && install -d -o flowmq -g flowmq -m 0700 /var/lib/flowmq
COPY --from=build /opt/flowmq /opt/flowmq
COPY deploy/healthcheck.py /opt/flowmq/healthcheck.py
# What scripts call that were written for RabbitMQ's image.
COPY packaging/shims /opt/flowmq/shims
# What was written for it: RABBITMQ_DEFAULT_USER and the like.
COPY packaging/entrypoint.py /opt/flowmq/entrypoint.py
ENV PATH=/opt/flowmq/bin:$PATH:/opt/flowmq/shims \
    PYTHONUNBUFFERED=1 \
    FLOWMQ_STORAGE__DATA_DIR=/var/lib/flowmq
USER flowmq
VOLUME /var/lib/flowmq
EXPOSE 5671 5672 15671 15672 15692
STOPSIGNAL SIGTERM
# A long journal takes its time to read.
HEALTHCHECK --interval=10s --timeout=6s --start-period=120s \
    CMD ["/opt/flowmq/bin/python", "/opt/flowmq/healthcheck.py", "/var/lib/flowmq"]
ENTRYPOINT ["/opt/flowmq/bin/python", "/opt/flowmq/entrypoint.py"]
CMD ["serve"]
