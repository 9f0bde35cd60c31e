#!/usr/bin/env bash
# Installs PostgreSQL, which the tests of a store that replicas share run against. Does nothing where there is one.
# Where it cannot, it says so and those tests fail, unless QWEND_TEST_WITHOUT_POSTGRESQL=1 skips them.
set -euo pipefail

say() { printf '%s\n' "install postgresql: $*"; }

if [ "${QWEND_TEST_WITHOUT_POSTGRESQL:-}" = 1 ] || command -v initdb >/dev/null ||
  compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null; then
  exit 0
fi
if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
  say "no PostgreSQL here, and only root on Debian or Ubuntu can have it installed by this script"
  exit 0
fi
say "installing postgresql"
export DEBIAN_FRONTEND=noninteractive
if ! { apt-get -qq update && apt-get -qq install -y --no-install-recommends postgresql; } >/dev/null; then
  say "apt-get could not install postgresql"
fi
