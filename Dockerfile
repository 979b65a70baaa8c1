# One image for everything: a node of the reference cluster, the harness, and the tools that make
# faults in a container's network (tc, nftables, iptables).
#
#   bash scripts/docker_build.sh                           # with the network
#   bash scripts/docker_build.sh --base IMAGE              # offline, from wheels and a base you have
#
# With a folder wheels/ in the build context nothing is fetched from a package index; the wheel of this
# project in it is what is installed, so let docker_build.sh build, which makes that anew each time.
ARG BASE_IMAGE=python:3.12-slim

FROM ${BASE_IMAGE} AS build
# The label lets docker_build.sh find and remove what an older builder leaves of this stage.
LABEL org.opencontainers.image.title=splitbrain
COPY . /src
RUN if command -v apt-get >/dev/null && ! python3 -c 'import ensurepip' 2>/dev/null; then \
        apt-get update && apt-get install -y --no-install-recommends python3-venv; \
    fi && \
    python3 -m venv /opt/splitbrain && \
    if [ -d /src/wheels ]; then \
        /opt/splitbrain/bin/pip install --quiet --no-index --find-links /src/wheels splitbrain; \
    else \
        /opt/splitbrain/bin/pip install --quiet /src; \
    fi

FROM ${BASE_IMAGE}
RUN if ! command -v tc >/dev/null || ! command -v nft >/dev/null || ! command -v iptables >/dev/null; then \
        apt-get update && \
        apt-get install -y --no-install-recommends iproute2 iptables nftables && \
        rm -rf /var/lib/apt/lists/*; \
    fi
COPY --from=build /opt/splitbrain /opt/splitbrain
ENV PATH=/opt/splitbrain/bin:$PATH PYTHONUNBUFFERED=1
VOLUME /data
WORKDIR /data
LABEL org.opencontainers.image.title=splitbrain
CMD ["harness", "--help"]
