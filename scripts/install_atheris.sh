#!/usr/bin/env bash
# Puts atheris, the fuzzer of `make fuzz`, beside the environment and not into it: nothing else here needs its 130 MB.
set -euo pipefail
cd "$(dirname "$0")/.."

version=3.0.0
if [ "$(cat .fuzz/installed 2>/dev/null)" = "$version" ]; then
  exit 0
fi
rm -rf .fuzz
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: \
  --target .fuzz "atheris==$version"
printf '%s' "$version" > .fuzz/installed
