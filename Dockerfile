# The gateway itself. Its servers run in containers of their own: see deploy/compose.yaml.
#
#   docker build -t tidegate .
#   docker build -t tidegate --build-arg BASE=registry.example.com/python:3.12-slim .
ARG BASE=python:3.12-slim

FROM ${BASE} AS build
USER root
WORKDIR /src
# An index of your own, for this stage alone.
ARG PIP_INDEX_URL
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python3 -m venv /opt/tidegate && python3 -m venv /opt/build
# What changes least goes first: the locked dependencies are a layer of their own. What builds tidegate is locked
# as well, and stays behind in this stage.
COPY locks/runtime.txt locks/build.txt locks/
RUN /opt/tidegate/bin/pip install --require-hashes -r locks/runtime.txt \
 && /opt/build/bin/pip install --require-hashes -r locks/build.txt
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --no-index --wheel-dir /opt/wheel . \
 && /opt/tidegate/bin/pip install --no-deps --no-index /opt/wheel/*.whl

FROM ${BASE}
USER root
ARG UID=65532
# State is the only place that is written to. Servers from `pypi:` are fetched with this environment's pip;
# those from `npm:` need a base that has npm.
RUN groupadd --gid ${UID} tidegate \
 && useradd --uid ${UID} --gid ${UID} --no-create-home --home-dir /var/lib/tidegate --shell /usr/sbin/nologin tidegate \
 && install -d -m 0700 -o ${UID} -g ${UID} /var/lib/tidegate
COPY --from=build /opt/tidegate /opt/tidegate
ENV PATH=/opt/tidegate/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    TIDEGATE_CONFIG=/etc/tidegate/tidegate.yaml
USER ${UID}:${UID}
WORKDIR /var/lib/tidegate
VOLUME /var/lib/tidegate
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
    CMD ["python3", "-c", "import http.client as h; c = h.HTTPConnection('127.0.0.1', 8080, timeout=2); c.request('GET', '/healthz'); raise SystemExit(c.getresponse().status != 200)"]
ENTRYPOINT ["tidegate"]
CMD ["serve"]
