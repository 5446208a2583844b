#!/bin/sh
# Installs the Chromium that the browser tests drive. Without root it only says what is missing:
# the tests are then skipped by name. Where CI is set nothing may be skipped, so it fails.
set -eu

for name in chromium-headless-shell chromium chromium-browser google-chrome; do
    if command -v "$name" >/dev/null; then
        exit 0
    fi
done
if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
    echo "installing chromium (once) ..."
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    # Half the CPU of the whole browser, and no window that it could show.
    apt-get install -y -qq --no-install-recommends chromium-headless-shell fonts-dejavu-core >/dev/null
    exit 0
fi
echo "no chromium: the tests marked 'browser' are skipped (Debian: apt install chromium-headless-shell)" >&2
[ -z "${CI:-}" ]
