# Two stages make Ringback's image, which has no compiler, no pip and no root user.
# It runs with a read-only root and writes only to /var/lib/ringback, /var/spool/ringback and /tmp.

# This tag was last known in November 2026. Any image with Python 3.11 or newer will do: docker build --build-arg
# PYTHON_IMAGE=...
ARG PYTHON_IMAGE=python:3.11.14-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
# pip reads these, so that the build may use another registry, or a folder of wheels, and no file names it.
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_FIND_LINKS
ARG PIP_NO_INDEX
ARG RINGBACK_VERSION
WORKDIR /src
COPY packaging/release.py packaging/requirements.txt packaging/build-requirements.txt ./packaging/
# What builds wheels has an environment of its own. The versions are locked, each with the hash of its file.
RUN python3 -m venv /opt/build \
 && /opt/build/bin/pip install --no-cache-dir --no-compile --require-hashes -r packaging/build-requirements.txt \
 && /opt/build/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --require-hashes --wheel-dir /opt/wheels \
      -r packaging/requirements.txt \
 && python3 -m venv /opt/ringback \
 && /opt/ringback/bin/pip install --no-index --no-deps --no-compile /opt/wheels/*.whl
COPY pyproject.toml README.md LICENSE ./
COPY config ./config
COPY sieve ./sieve
COPY proxy ./proxy
COPY etc ./etc
COPY docs/man ./docs/man
COPY docs/completion ./docs/completion
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /opt/wheel . \
 && /opt/ringback/bin/pip install --no-deps --no-compile /opt/wheel/*.whl \
 && /opt/ringback/bin/python -m compileall -q /opt/ringback/lib \
 && /opt/ringback/bin/pip uninstall --yes --quiet pip setuptools

FROM ${PYTHON_IMAGE} AS ringback
LABEL org.opencontainers.image.title="Ringback" \
      org.opencontainers.image.description="SMTP front-end proxy with sender callback verification" \
      org.opencontainers.image.licenses="Apache-2.0"

RUN groupadd --system --gid 2525 ringback \
 && useradd --system --uid 2525 --gid ringback --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin ringback \
 && install --directory --owner=ringback --group=ringback --mode=0750 /var/lib/ringback /var/spool/ringback

COPY --from=build /opt/ringback /opt/ringback
# A complete configuration, so that the image starts as it is; mount your own over it.
COPY etc /etc/ringback
RUN chmod -R a+rX /etc/ringback # a checkout may be readable for its owner only

# The packages are called config, sieve and proxy: PYTHONSAFEPATH keeps Python from importing others of the same name.
ENV PATH=/opt/ringback/bin:$PATH \
    PYTHONSAFEPATH=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1

USER ringback
WORKDIR /
EXPOSE 2525
VOLUME ["/var/lib/ringback", "/var/spool/ringback"]

# SIGTERM: accept no new clients, finish open transactions, exit.
STOPSIGNAL SIGTERM

# Healthy: the supervisor lives and workers serve. It asks at the socket in State_Directory.
HEALTHCHECK --interval=30s --timeout=10s --start-period=15s --retries=3 \
  CMD ["ringback", "status"]

ENTRYPOINT ["ringback"]
CMD ["serve", "-c", "/etc/ringback/ecelerity.conf"]

# ---- what docker-compose.yml runs beside Ringback in its profiles, from Debian's packages. The caches are no part of an
# image: builds share them.

FROM ${PYTHON_IMAGE} AS debian
ENV DEBIAN_FRONTEND=noninteractive

FROM debian AS postfix
RUN --mount=type=cache,sharing=locked,target=/var/cache/apt --mount=type=cache,sharing=locked,target=/var/lib/apt/lists \
    apt-get update && apt-get install --yes --no-install-recommends postfix
COPY etc/docker/postfix/main.cf etc/docker/postfix/master.cf /etc/postfix/
EXPOSE 25
VOLUME ["/var/spool/postfix"]
CMD ["postfix", "start-fg"]

FROM debian AS haproxy
RUN --mount=type=cache,sharing=locked,target=/var/cache/apt --mount=type=cache,sharing=locked,target=/var/lib/apt/lists \
    apt-get update && apt-get install --yes --no-install-recommends haproxy
COPY etc/docker/haproxy.cfg /etc/haproxy/haproxy.cfg
USER haproxy
EXPOSE 2525
# SIGUSR1: accept no new clients, and exit when the last one has gone.
STOPSIGNAL SIGUSR1
CMD ["haproxy", "-W", "-db", "-f", "/etc/haproxy/haproxy.cfg"]

FROM debian AS redis
RUN --mount=type=cache,sharing=locked,target=/var/cache/apt --mount=type=cache,sharing=locked,target=/var/lib/apt/lists \
    apt-get update && apt-get install --yes --no-install-recommends redis-server
COPY etc/docker/redis.conf /etc/redis/redis.conf
USER redis
EXPOSE 6379
VOLUME ["/var/lib/redis"]
CMD ["redis-server", "/etc/redis/redis.conf"]

# The package gives its user the folder metrics2 only.
FROM debian AS prometheus
RUN --mount=type=cache,sharing=locked,target=/var/cache/apt --mount=type=cache,sharing=locked,target=/var/lib/apt/lists \
    apt-get update && apt-get install --yes --no-install-recommends prometheus
COPY etc/docker/prometheus.yml share/prometheus/ringback.rules.yml /etc/prometheus/
USER prometheus
EXPOSE 9090
VOLUME ["/var/lib/prometheus/metrics2"]
CMD ["prometheus", "--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/var/lib/prometheus/metrics2"]

# ---- without --target, the image is Ringback. A builder that builds stages which nobody needs (buildah before 1.30) is
# quicker with --target ringback.

FROM ringback
