#!/usr/bin/env bash
# Resolves pyproject.toml's `cpu` and `dev` extras in a throw-away environment and writes requirements/cpu.lock.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
pip() { "$folder/venv/bin/python" -m pip --disable-pip-version-check --quiet "$@"; }

# Torch first, so that the rest resolves against the CPU build. hatchling and editables build and link this package.
torch=$(sed -n 's/.*"torch==\([^"]*\)".*/\1/p' pyproject.toml)
pip install "torch==$torch+cpu" || pip install --index-url https://download.pytorch.org/whl/cpu "torch==$torch+cpu"
pip install '.[cpu,dev]' "$(sed -n 's/.*requires = \["\([^"]*\)".*/\1/p' pyproject.toml)" editables
{
  sed -n '/^#/p' requirements/cpu.lock
  pip list --format=freeze | grep -viE '^(pip|qwend|torchaudio|torchcodec)==' | sed 's/+cpu$//' | sort -f
} > "$folder/lock"
mv "$folder/lock" requirements/cpu.lock
