#!/usr/bin/env bash
# Puts prometheus and promtool on the PATH, which the tests of dashboards and alerts run. Does nothing where they are.
# Where it cannot, it says so and those tests fail, unless QWEND_TEST_WITHOUT_PROMETHEUS=1 skips them.
set -euo pipefail

say() { printf '%s\n' "install prometheus: $*"; }

if command -v prometheus >/dev/null || [ "${QWEND_TEST_WITHOUT_PROMETHEUS:-}" = 1 ]; then
  exit 0
fi
if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
  say "no prometheus here, and only root on Debian or Ubuntu can have it installed by this script"
  exit 0
fi
say "installing prometheus"
export DEBIAN_FRONTEND=noninteractive
if ! { apt-get -qq update && apt-get -qq install -y --no-install-recommends prometheus; } >/dev/null; then
  say "apt-get could not install prometheus"
fi
