#!/usr/bin/env bash
# Writes bills of materials (CycloneDX) of what images install, from the locks, into dist/. Each image also has one of what
# it really has in it: /opt/qwend/share/qwend/sbom.cdx.json. The tool lives in an environment of its own, .sbom.
set -euo pipefail
cd "$(dirname "$0")/.."

want=$(sha256sum < requirements/sbom.txt)
if [ "$(cat .sbom/installed 2>/dev/null)" != "$want" ]; then
  rm -rf .sbom
  "${PYTHON:-python3.11}" -m venv .sbom
  .sbom/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement requirements/sbom.txt
  printf '%s' "$want" > .sbom/installed
fi
mkdir -p dist
for lock in serve-cpu serve-front; do
  .sbom/bin/cyclonedx-py requirements "requirements/$lock.lock" --pyproject pyproject.toml --output-reproducible \
    --validate --output-file "dist/sbom-$lock.cdx.json"
  printf '%s\n' "dist/sbom-$lock.cdx.json"
done
