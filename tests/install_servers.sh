#!/bin/sh
# Installs the servers that the shipped configurations in deploy/ are tested with. Without root it
# only says what is missing: the tests are then skipped by name. Where CI is set nothing may be
# skipped, so it fails.
set -eu

PATH="$PATH:/usr/sbin"
missing=""
for name in nginx pgbouncer prometheus promtool envsubst openssl systemd-analyze; do
    command -v "$name" >/dev/null || missing="$missing $name"
done
if [ -z "$missing" ]; then
    exit 0
fi
if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
    echo "installing nginx, pgbouncer, prometheus (once) ..."
    export DEBIAN_FRONTEND=noninteractive
    # The packages start their servers; here only the programs are wanted.
    if [ ! -e /usr/sbin/policy-rc.d ]; then
        printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
        chmod +x /usr/sbin/policy-rc.d
        trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    fi
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends \
        nginx-light pgbouncer prometheus gettext-base openssl systemd >/dev/null
    exit 0
fi
echo "no$missing: the tests of deploy/ are skipped (Debian: apt install nginx pgbouncer prometheus)" >&2
[ -z "${CI:-}" ]
