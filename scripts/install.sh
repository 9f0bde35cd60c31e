#!/usr/bin/env bash
# Makes .venv and installs the daemon with everything that serving and testing need, all of it pinned.
# Needs Python 3.11 or later and, the first time, a network. A second run finds its stamp and does nothing.
#   PYTHON=python3.12   the interpreter to use
#   TORCH_INDEX=URL     where PyTorch's CPU wheels are, should pip's own configuration not know them
set -euo pipefail
cd "$(dirname "$0")/.."

VENV=.venv
LOCK=requirements/cpu.lock

say() { printf '%s\n' "install: $*"; }

find_python() {
  for candidate in ${PYTHON:-python3.11 python3.12 python3.13 python3}; do
    if command -v "$candidate" >/dev/null && "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))'; then
      command -v "$candidate"
      return
    fi
  done
  say "no Python from 3.11 to 3.13 found; name one with PYTHON=" >&2
  exit 1
}

python=$(find_python)
stamp=$VENV/installed
want=$( (cat "$LOCK" pyproject.toml scripts/install.sh scripts/torch_cpu.sh; "$python" --version) | sha256sum | cut -d' ' -f1)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$want" ]; then
  exit 0
fi

began=$SECONDS
say "making $VENV with $("$python" --version)"
rm -rf "$VENV"
"$python" -m venv "$VENV"
pip() { "$VENV/bin/python" -m pip --disable-pip-version-check --quiet "$@"; }

# First, so that nothing brings another torch.
scripts/torch_cpu.sh "$VENV/bin/python" "$LOCK"

# The lock is the whole environment, so nothing is left for pip to resolve. It leaves torchaudio and torchcodec out:
# vLLM and transformers do without them, and beside a CPU torch PyPI's builds of them do not import. PyPI's torchvision
# is a CUDA build too where PyTorch's own could not be had; server/engine/torchvision_ops.py makes it import.
say "installing $LOCK"
pip install --no-deps -r "$LOCK"
pip install --no-deps --no-build-isolation -e .
printf '%s' "$want" > "$stamp"
say "done in $((SECONDS - began)) s"
