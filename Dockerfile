# The image: linux/arm64 from Graviton2 to the newest core, and linux/amd64 from AVX2 on. `make image`, docs/deploy.md.
#
#   docker run -p 8080:8080 gemmule                                             # the demo model answers at once
#   docker run -p 8080:8080 -v $PWD:/models:ro -e GEMMULE_MODEL=/models/x.gguf gemmule
#
# Nothing is compiled when it starts: the micro-kernels of every core are compiled here, by LLVM from any machine; what
# numba compiles is compiled on the platform itself. It runs with a read-only root and as nobody in particular.
ARG BASE=debian:bookworm-slim
# The same, for those who have an image of each platform under a name of its own.
ARG BUILD_BASE=${BASE}

# ---- on the machine that builds: wheels, the demo model, micro-kernels for the other architecture too
FROM --platform=$BUILDPLATFORM ${BUILD_BASE} AS builder
ARG TARGETARCH
RUN apt-get update && apt-get install --yes --no-install-recommends ca-certificates python3 python3-pip python3-venv
WORKDIR /src
COPY deploy/image/build.lock deploy/image/requirements.lock deploy/image/
COPY deploy/image/platform deploy/image/
RUN python3 -m venv /venv && /venv/bin/pip install --require-hashes -r deploy/image/build.lock
# The wheels of the target, unpacked without running anything of them; and those of this machine, to compile with.
RUN /venv/bin/pip install --no-compile --no-deps --require-hashes --target /out/site \
      $(sh deploy/image/platform "$TARGETARCH") -r deploy/image/requirements.lock \
 && /venv/bin/pip install --no-deps --require-hashes -r deploy/image/requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY kernels kernels
COPY service service
COPY loadtest loadtest
RUN /venv/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheel . \
 && /venv/bin/pip install --no-compile --no-deps --target /out/site /wheel/*.whl \
 && /venv/bin/pip install --no-deps /wheel/*.whl \
 && rm -rf /out/site/bin && find /out/site -depth -type d -name tests -exec rm -rf '{}' + \
 && find /out/site -type f '(' -name '*.c' -o -name '*.pyx' -o -name '*.pxi' ')' -delete
# pip's own bookkeeping says where the wheel came from and when: not the same twice.
RUN find /out/site -name direct_url.json -delete
ENV GEMMULE_CACHE=/out/cache
RUN /venv/bin/gemmule pull
COPY tools tools
RUN case "$TARGETARCH" in arm64) arch=aarch64 ;; *) arch=x86_64 ;; esac; /venv/bin/python -m tools.arm.objects "$arch"

# ---- what is served from: Debian's Python and nothing else
FROM --platform=$TARGETPLATFORM ${BASE} AS python
RUN apt-get update && apt-get install --yes --no-install-recommends python3 libstdc++6 \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/ldconfig/* /var/cache/debconf/*-old /var/log/* \
 && find / -xdev -type f -perm /6000 -exec chmod a-s '{}' +

# ---- on the target's platform: what numba compiles, bytecode, the bill of materials
FROM --platform=$TARGETPLATFORM python AS warm
ARG TARGETARCH
WORKDIR /src
COPY --from=builder /out/site /usr/local/lib/python3.11/dist-packages
COPY --from=builder /out/cache /var/cache/gemmule
COPY tools tools
ENV GEMMULE_CACHE=/var/cache/gemmule PYTHONDONTWRITEBYTECODE=1
RUN case "$TARGETARCH" in arm64) levels=arm ;; *) levels="x86-64-v3 x86-64-v4" ;; esac; \
    for level in $levels; do python3 -m tools.image.functions ${level#arm} || exit 1; done
RUN python3 -m compileall -q --invalidation-mode unchecked-hash /usr/local/lib/python3.11/dist-packages \
 && python3 -m tools.image.sbom /usr/local/lib/python3.11/dist-packages /out/share \
 && chmod -R a+rX /var/cache/gemmule
# Symbols that some wheels were shipped with (uvloop: 12 of 14 MB, LLVM: 19), and what compilers and type checkers read.
RUN apt-get update && apt-get install --yes --no-install-recommends binutils && cd /usr/local/lib/python3.11/dist-packages \
 && strip --strip-unneeded uvloop/*.so httptools/parser/*.so yaml/*.so tokenizers/*.so llvmlite/binding/*.so \
 && find . -type f '(' -name '*.pyi' -o -name '*.h' -o -name '*.pxd' ')' -delete

FROM --platform=$TARGETPLATFORM python
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="gemmule" \
      org.opencontainers.image.description="LLM completion microservice for Arm servers" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=warm /usr/local/lib/python3.11/dist-packages /usr/local/lib/python3.11/dist-packages
COPY --from=warm /var/cache/gemmule /var/cache/gemmule
COPY --from=warm /out/share /usr/local/share/gemmule
COPY LICENSE /usr/local/share/gemmule/LICENSE
COPY deploy/image/gemmule /usr/local/bin/gemmule
ENV GEMMULE_CACHE=/var/cache/gemmule GEMMULE_HOST=0.0.0.0 GEMMULE_LOG_FORMAT=json \
    PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 65532:65532
EXPOSE 8080 8081
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
  CMD ["python3", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ.get('GEMMULE_PORT', '8080') + '/health/live', timeout=4)"]
ENTRYPOINT ["gemmule"]
CMD ["serve"]
