#!/usr/bin/env bash
# Makes PREFIX, an environment with the daemon in it and nothing that only building needs, in two steps:
#   build.sh cpu PREFIX      its packages, with vLLM's CPU build, in the versions that the tests run
#   build.sh cuda PREFIX     its packages over the vLLM and the torch that the machine's python3 has, which stay as they are
#   build.sh daemon PREFIX   the daemon, and a bill of materials
# The Dockerfile's build stages run it; it needs python3 with pip, and a network. Run it at the path where PREFIX will be
# used: environments cannot be moved.
#   PYTHON=python3   TORCH_INDEX=URL (see scripts/torch_cpu.sh)
set -euo pipefail
cd "$(dirname "$0")/../.."

step=$1 prefix=$2
base=${PYTHON:-python3}
python=$prefix/bin/python
# What is downloaded is not needed twice, and would stay in a layer.
export PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
say() { printf '%s\n' "build: $*"; }
# From outside: nothing is ever installed into an image, so that there is no pip in it.
pip() { "$base" -m pip --python "$python" --quiet "$@"; }

cpu() {
  "$base" -m venv --without-pip "$prefix"
  scripts/torch_cpu.sh "$python" requirements/serve-cpu.lock "$base"
  say "installing requirements/serve-cpu.lock"
  pip install --no-deps --requirement requirements/serve-cpu.lock
}

cuda() {
  # What is installed here stands before what the machine has, and changes nothing there.
  "$base" -m venv --without-pip --system-site-packages "$prefix"
  local lines
  while lines=$("$python" deploy/container/over_vllm.py pyproject.toml requirements/serve-front.lock) && [ -n "$lines" ]; do
    say "over the vLLM that is here: ${lines//$'\n'/ }"
    # One argument a line, which has no spaces in it.
    # shellcheck disable=SC2086
    pip install --no-deps $lines
  done
  # The loop hides how its last command ended.
  "$python" deploy/container/over_vllm.py pyproject.toml requirements/serve-front.lock
}

daemon() {
  pip install --no-deps .
  install -m 755 deploy/container/health.py "$prefix/bin/qwend-health"
  sed -i "1s|.*|#!$python -I|" "$prefix/bin/qwend-health"
  # On this very Python: it may be one that needs more than the lock's own.
  (cd / && "$python" -c 'import server.daemon')
  bill_of_materials "$prefix/share/qwend/sbom.cdx.json"
  say "done: $(du -sh "$prefix" | cut -f1)"
}

# By a tool that is not in it.
bill_of_materials() {
  local folder
  folder=$(mktemp -d)
  "$base" -m venv --without-pip "$folder/venv"
  "$base" -m pip --python "$folder/venv/bin/python" --quiet install --no-deps --requirement requirements/sbom.txt
  mkdir -p "$(dirname "$1")"
  "$folder/venv/bin/cyclonedx-py" environment --pyproject pyproject.toml --output-reproducible --validate \
    --output-file "$1" "$python" 2> "$folder/log" || { cat "$folder/log" >&2; return 1; }
  rm -rf "$folder"
}

case $step in
  cpu | cuda | daemon) "$step" ;;
  *)
    say "the first argument is cpu, cuda or daemon, not $step" >&2
    exit 2
    ;;
esac
