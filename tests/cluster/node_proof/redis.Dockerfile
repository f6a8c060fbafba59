# Redis where no registry is asked for images: Debian's own.
ARG BASE=docker.io/library/python:3.11-slim-bookworm
FROM ${BASE}
# Whatever version Debian has: the image is made anew for each proof, and thrown away.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends redis-server redis-tools && rm -rf /var/lib/apt/lists/*
USER 65532:65532
ENTRYPOINT ["redis-server"]
