#!/usr/bin/env bash
# install_for_tests.sh NAME PACKAGE PROGRAM...: installs a Debian package that tests run against, unless one of its
# programs (names on the PATH, or patterns of paths) is there. Where it cannot, it says so and those tests fail, unless
# QWEND_TEST_WITHOUT_NAME=1 skips them.
set -euo pipefail

name=$1 package=$2
shift 2
say() { printf '%s\n' "install $package: $*"; }

without=QWEND_TEST_WITHOUT_$name
[ "${!without:-}" = 1 ] && exit 0
for program in "$@"; do
  if command -v "$program" >/dev/null || compgen -G "$program" >/dev/null; then
    exit 0
  fi
done
if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
  say "there is none here, and only root on Debian or Ubuntu can have it installed by this script"
  exit 0
fi
say "installing it"
export DEBIAN_FRONTEND=noninteractive
if ! { apt-get -qq update && apt-get -qq install -y --no-install-recommends "$package"; } >/dev/null; then
  say "apt-get could not install it"
fi
