# Images of qwend. Targets:
#   cpu    the embedded reference checkpoint on any x86-64 machine, the default
#   cuda   the daemon over vLLM's own image, for GPUs
#
#   docker build --target cpu  --build-arg VERSION=0.1.0 --tag ghcr.io/qwend/qwend:0.1.0-cpu .
#   docker build --target cuda --build-arg VERSION=0.1.0 --tag ghcr.io/qwend/qwend:0.1.0-cuda .
#
# A private index: --secret id=pip,src=$HOME/.config/pip/pip.conf. See docs/container.md.

# Tags, until `scripts/pin_images.py` has put the registry's digests behind them.
ARG CPU_BASE=docker.io/library/debian:bookworm-slim
ARG CUDA_BASE=docker.io/vllm/vllm-openai:v0.32.0

FROM ${CPU_BASE} AS cpu-build
# Debian's release has one Python, 3.11, and its fixes are wanted.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates python3 python3-pip python3-venv \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
# Packages first: they change with the lock, the daemon with every commit.
COPY pyproject.toml ./
COPY requirements requirements
COPY scripts/torch_cpu.sh scripts/
COPY deploy/container/build.sh deploy/container/
RUN --mount=type=secret,id=pip,target=/etc/pip.conf deploy/container/build.sh cpu /opt/qwend
COPY . .
RUN --mount=type=secret,id=pip,target=/etc/pip.conf deploy/container/build.sh daemon /opt/qwend

FROM ${CUDA_BASE} AS cuda-build
WORKDIR /src
COPY pyproject.toml ./
COPY requirements requirements
COPY deploy/container/build.sh deploy/container/over_vllm.py deploy/container/
RUN --mount=type=secret,id=pip,target=/etc/pip.conf deploy/container/build.sh cuda /opt/qwend
COPY . .
RUN --mount=type=secret,id=pip,target=/etc/pip.conf deploy/container/build.sh daemon /opt/qwend

FROM ${CUDA_BASE} AS cuda
ARG VERSION=0.0.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="qwend" \
      org.opencontainers.image.description="OpenAI-compatible serving daemon for Qwen3.5, on vLLM's CUDA build" \
      org.opencontainers.image.source="https://github.com/qwend/qwend" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="docker.io/vllm/vllm-openai:v0.32.0"
COPY --from=cuda-build /opt/qwend /opt/qwend
COPY deploy/container/folders.sh /tmp/folders.sh
RUN /tmp/folders.sh && rm /tmp/folders.sh
# What is written goes to volumes: the root may be read-only.
ENV PATH=/opt/qwend/bin:$PATH \
    HOME=/var/lib/qwend \
    XDG_STATE_HOME=/var/lib/qwend \
    XDG_CACHE_HOME=/var/cache/qwend \
    XDG_CONFIG_HOME=/var/cache/qwend/config \
    HF_HOME=/var/cache/qwend/huggingface \
    VLLM_CACHE_ROOT=/var/cache/qwend/vllm \
    TRITON_CACHE_DIR=/var/cache/qwend/triton \
    TORCHINDUCTOR_CACHE_DIR=/var/cache/qwend/inductor \
    FLASHINFER_WORKSPACE_BASE=/var/cache/qwend \
    CUDA_CACHE_PATH=/var/cache/qwend/cuda \
    VLLM_NO_USAGE_STATS=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    QWEND_SERVER__HOST=0.0.0.0 \
    QWEND_LOG__FORMAT=json
USER 10001:10001
WORKDIR /var/lib/qwend
VOLUME ["/models", "/var/cache/qwend", "/var/lib/qwend"]
EXPOSE 8000
STOPSIGNAL SIGTERM
# A start may read hundreds of GB; what fails before it is ready does not count.
HEALTHCHECK --start-period=2h --interval=10s --timeout=5s --retries=3 CMD ["qwend-health"]
ENTRYPOINT ["qwend"]
# Which model is not for the image to say; this lists what it knows.
CMD ["profiles"]

FROM ${CPU_BASE} AS cpu
ARG VERSION=0.0.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="qwend" \
      org.opencontainers.image.description="OpenAI-compatible serving daemon for Qwen3.5, with its reference checkpoint, on vLLM's CPU build" \
      org.opencontainers.image.source="https://github.com/qwend/qwend" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="docker.io/library/debian:bookworm-slim"
# vLLM's CPU kernels are linked with libnuma.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates libnuma1 libstdc++6 python3 \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin
COPY --from=cpu-build /opt/qwend /opt/qwend
COPY deploy/container/folders.sh /tmp/folders.sh
RUN /tmp/folders.sh && rm /tmp/folders.sh
# As above; nothing is compiled here.
ENV PATH=/opt/qwend/bin:$PATH \
    HOME=/var/lib/qwend \
    XDG_STATE_HOME=/var/lib/qwend \
    XDG_CACHE_HOME=/var/cache/qwend \
    XDG_CONFIG_HOME=/var/cache/qwend/config \
    HF_HOME=/var/cache/qwend/huggingface \
    VLLM_CACHE_ROOT=/var/cache/qwend/vllm \
    TRITON_CACHE_DIR=/var/cache/qwend/triton \
    TORCHINDUCTOR_CACHE_DIR=/var/cache/qwend/inductor \
    VLLM_NO_USAGE_STATS=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    QWEND_SERVER__HOST=0.0.0.0 \
    QWEND_LOG__FORMAT=json
USER 10001:10001
WORKDIR /var/lib/qwend
VOLUME ["/models", "/var/cache/qwend", "/var/lib/qwend"]
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --start-period=10m --interval=10s --timeout=5s --retries=3 CMD ["qwend-health"]
ENTRYPOINT ["qwend"]
CMD ["serve"]
