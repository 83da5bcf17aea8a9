# syntax=docker/dockerfile:1
# The gateway itself. Its servers run in containers of their own: see deploy/compose.yaml.
#
#   docker build -t tidegate .
#   docker build -t tidegate --build-arg BASE=registry.example.com/python:3.12-slim .
ARG BASE=python:3.12-slim

FROM ${BASE} AS build
WORKDIR /src
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python3 -m venv /opt/tidegate
# What changes least goes first: the locked dependencies are a layer of their own.
COPY locks/runtime.txt locks/
RUN /opt/tidegate/bin/pip install --require-hashes -r locks/runtime.txt
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN /opt/tidegate/bin/pip install --no-deps .

FROM ${BASE}
ARG UID=65532
# State is the only place that is written to. Servers from `pypi:` are fetched with this environment's pip;
# those from `npm:` need a base that has npm.
RUN groupadd --gid ${UID} tidegate \
 && useradd --uid ${UID} --gid ${UID} --no-create-home --home-dir /var/lib/tidegate --shell /usr/sbin/nologin tidegate \
 && install -d -m 0700 -o ${UID} -g ${UID} /var/lib/tidegate
COPY --from=build /opt/tidegate /opt/tidegate
ENV PATH=/opt/tidegate/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER ${UID}:${UID}
WORKDIR /var/lib/tidegate
VOLUME /var/lib/tidegate
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
    CMD ["python3", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/healthz', timeout=2)"]
ENTRYPOINT ["tidegate"]
CMD ["serve", "--config", "/etc/tidegate/tidegate.yaml"]
