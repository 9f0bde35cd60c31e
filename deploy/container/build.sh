#!/usr/bin/env bash
# build.sh cpu|cuda PREFIX: makes PREFIX, an environment with the daemon in it and nothing that only building needs.
# The Dockerfile's build stages run it; it needs python3 with pip and venv, and a network. Run it at the path where PREFIX
# will be used: environments cannot be moved.
#   cpu    the daemon with vLLM's CPU build, in the versions that the tests run
#   cuda   the daemon over the vLLM and the torch that the machine's python3 has, which are left as they are
#   PYTHON=python3   TORCH_INDEX=URL (see scripts/torch_cpu.sh)
set -euo pipefail
cd "$(dirname "$0")/../.."

target=$1 prefix=$2
base=${PYTHON:-python3}
python=$prefix/bin/python
say() { printf '%s\n' "build: $*"; }
pip() { "$python" -m pip --disable-pip-version-check --quiet "$@"; }

case $target in
  cpu)
    "$base" -m venv "$prefix"
    scripts/torch_cpu.sh "$python" requirements/serve-cpu.lock
    say "installing requirements/serve-cpu.lock"
    pip install --no-deps --requirement requirements/serve-cpu.lock
    ;;
  cuda)
    # An environment over the machine's own: what is installed here stands before what is there, and changes nothing there.
    "$base" -m venv --system-site-packages "$prefix"
    while lines=$("$python" deploy/container/over_vllm.py pyproject.toml requirements/serve-front.lock) && [ -n "$lines" ]; do
      say "over the vLLM that is here: ${lines//$'\n'/ }"
      # One argument a line, which has no spaces in it.
      # shellcheck disable=SC2086
      pip install --no-deps $lines
    done
    # The loop hides how its last command ended.
    "$python" deploy/container/over_vllm.py pyproject.toml requirements/serve-front.lock
    ;;
  *)
    say "the first argument is cpu or cuda, not $target" >&2
    exit 2
    ;;
esac

say "installing the daemon"
pip install --no-deps .
install -m 755 deploy/container/health.py "$prefix/bin/qwend-health"
sed -i "1s|.*|#!$python -I|" "$prefix/bin/qwend-health"

# On this very Python: it may be one that the lock's own needs more for.
(cd / && "$python" -c 'import server.daemon')

# What is in it, told by a tool that is not.
sbom=$(mktemp -d)
trap 'rm -rf "$sbom"' EXIT
"$base" -m venv "$sbom/venv"
"$sbom/venv/bin/python" -m pip --disable-pip-version-check --quiet install --no-deps --requirement requirements/sbom.txt
mkdir -p "$prefix/share/qwend"
"$sbom/venv/bin/cyclonedx-py" environment --pyproject pyproject.toml --output-reproducible --validate \
  --output-file "$prefix/share/qwend/sbom.cdx.json" "$python" 2> "$sbom/log" || { cat "$sbom/log" >&2; exit 1; }

# Nothing is ever installed into an image.
pip uninstall --yes pip
say "done: $(du -sh "$prefix" | cut -f1)"
