#!/usr/bin/env bash
# torch_cpu.sh PYTHON LOCK [BASE]: installs PyTorch's CPU build into PYTHON's environment, in the versions of LOCK, with
# the pip of BASE where PYTHON has none.
# By its full version, for plain `torch` is a CUDA build of several GB.
#   TORCH_INDEX=URL     where PyTorch's CPU wheels are, should pip's own configuration not know them
set -euo pipefail

python=$1 lock=$2 base=${3:-$1}
TORCH_INDEX=${TORCH_INDEX:-https://download.pytorch.org/whl/cpu}

say() { printf '%s\n' "install: $*"; }
pin() { sed -n "s/^$1==//p" "$lock"; }
pip() { "$base" -m pip --python "$python" --disable-pip-version-check --quiet "$@"; }

torch=$(pin torch) torchvision=$(pin torchvision)
if pip install --no-deps "torch==$torch+cpu" 2>/dev/null; then
  say "torch $torch+cpu from pip's own sources"
  pip install --no-deps "torchvision==$torchvision+cpu" 2>/dev/null || true
else
  say "torch $torch+cpu from $TORCH_INDEX"
  pip install --no-deps --index-url "$TORCH_INDEX" "torch==$torch+cpu" "torchvision==$torchvision+cpu"
fi
