#!/usr/bin/env bash
# Puts a redis-server on the PATH, which the tests of shared quotas run against. Does nothing where there is one.
# Where it cannot, it says so and those tests fail, unless QWEND_TEST_WITHOUT_REDIS=1 skips them.
set -euo pipefail

say() { printf '%s\n' "install redis: $*"; }

if command -v redis-server >/dev/null || [ "${QWEND_TEST_WITHOUT_REDIS:-}" = 1 ]; then
  exit 0
fi
if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
  say "no redis-server here, and only root on Debian or Ubuntu can have it installed by this script"
  exit 0
fi
say "installing redis-server"
export DEBIAN_FRONTEND=noninteractive
if ! { apt-get -qq update && apt-get -qq install -y --no-install-recommends redis-server; } >/dev/null; then
  say "apt-get could not install redis-server"
fi
