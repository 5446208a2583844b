#!/bin/sh
# Fills in the templates beside this file from the environment and becomes PgBouncer.
set -eu
umask 077
templates="$(dirname "$0")"
export PGBOUNCER_DIR="${PGBOUNCER_DIR:-/tmp/pgbouncer}"
mkdir -p "$PGBOUNCER_DIR"
for name in pgbouncer.ini userlist.txt; do
    envsubst < "$templates/$name.template" > "$PGBOUNCER_DIR/$name"
done
exec pgbouncer "$PGBOUNCER_DIR/pgbouncer.ini"
