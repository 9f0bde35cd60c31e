#!/usr/bin/env bash
# Looks for secrets in tracked files, then asks the Python advisory database about every version in requirements/cpu.lock.
# The second part needs a network; pip-audit lives in an environment of its own, .audit.
set -euo pipefail
cd "$(dirname "$0")/.."

.venv/bin/python scripts/secret_scan.py
version=2.10.1
if [ "$(cat .audit/installed 2>/dev/null)" != "$version" ]; then
  rm -rf .audit
  "${PYTHON:-python3.11}" -m venv .audit
  .audit/bin/python -m pip install --quiet --disable-pip-version-check "pip-audit==$version"
  printf '%s' "$version" > .audit/installed
fi
# The lock is whole and exact, so that nothing is resolved or installed. Strict, or packages that it could not ask about
# would be passed over and the end would look well.
.audit/bin/pip-audit --strict --requirement requirements/cpu.lock --no-deps --disable-pip --progress-spinner off
