#!/bin/sh
# Fills in the templates beside this file from the environment and becomes PgBouncer.
set -eu
umask 077
templates="$(dirname "$0")"
export PGBOUNCER_DIR="${PGBOUNCER_DIR:-/tmp/pgbouncer}"
mkdir -p "$PGBOUNCER_DIR"
# PgBouncer before 1.21 knows no prepared statements, and starts with no setting for them; 1.21 breaks
# them, as psycopg sends DEALLOCATE ALL after a rollback. With these DATABASE_PREPARED_STATEMENTS of
# aily must be false.
minor=$(pgbouncer --version | sed -n 's/^PgBouncer 1\.\([0-9]*\).*/\1/p')
prepared_statements="; max_prepared_statements: from 1.22 on"
if [ "${minor:-99}" -ge 22 ]; then
    prepared_statements="max_prepared_statements = 200"
fi
export prepared_statements
for name in pgbouncer.ini userlist.txt; do
    envsubst < "$templates/$name.template" > "$PGBOUNCER_DIR/$name"
done
exec pgbouncer "$PGBOUNCER_DIR/pgbouncer.ini"
