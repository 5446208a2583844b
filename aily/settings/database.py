"""PostgreSQL: connections, their pool, and a replica."""

from __future__ import annotations

from typing import Any

from environ import Env

from aily import embedded
from aily.database.backend.connection import BoundedConnection, ReplicaConnection
from aily.environment.addresses import database_url_problem
from aily.settings.environment import DATA_DIR, env

# Connections come from psycopg's pool and go back after every unit of work (CONN_MAX_AGE 0), so
# that none is held while a process waits for a provider, a socket or Redis.
DATABASE_THREADS = env.integer("DATABASE_THREADS", default=4, minimum=1, maximum=256)
_database_url = env.checked("DATABASE_URL", database_url_problem)
#: PostgreSQL runs as a child of aily, on its disk.
HAS_OWN_DATABASE = not _database_url
DATABASES: dict[str, Any] = {
    "default": Env.db_url_config(_database_url or embedded.database_url(DATA_DIR))
}
DATABASES["default"].update(ENGINE="aily.database.backend", CONN_MAX_AGE=0)
BoundedConnection.answer_seconds = env.number("DATABASE_ANSWER_SECONDS", default=10) or None
#: Hot statements stay parsed and planned in each connection's session (aily/database/rows.py). Not
#: behind PgBouncer before 1.22, which loses them: it passes the next message to another session,
#: or (1.21) does not follow psycopg's DEALLOCATE ALL.
DATABASE_PREPARED_STATEMENTS = env.boolean("DATABASE_PREPARED_STATEMENTS", default=HAS_OWN_DATABASE)
DATABASES["default"].setdefault("OPTIONS", {}).update(
    pool={
        "connection_class": BoundedConnection,
        "min_size": 1,
        "max_size": env.integer("DATABASE_POOL_SIZE", default=10, minimum=1, maximum=1000),
        "timeout": env.seconds("DATABASE_POOL_TIMEOUT_SECONDS", default=5, maximum=600),
        # By itself the pool tries again ever more seldom for five minutes. When it gives up, the
        # next unit of work makes it try anew.
        "reconnect_timeout": 1,
    },
    connect_timeout=5,
    # What lets the kernel find out that the network is gone: seconds, and milliseconds.
    keepalives=1,
    keepalives_idle=5,
    keepalives_interval=2,
    keepalives_count=3,
    tcp_user_timeout=10_000,
)

# A cursor kept open between transactions is lost behind PgBouncer, which gives each transaction
# whichever connection is free. Django opens one for every select box of a form.
DATABASES["default"]["DISABLE_SERVER_SIDE_CURSORS"] = True

# What may be read from a replica, and when: aily/database/replica.py.
DATABASE_REPLICA_MAX_LAG_SECONDS = env.number(
    "DATABASE_REPLICA_MAX_LAG_SECONDS", default=3, minimum=2
)
if _replica_url := env.checked("DATABASE_REPLICA_URL", database_url_problem):
    _options = DATABASES["default"]["OPTIONS"]
    _replica = Env.db_url_config(_replica_url)
    DATABASES["replica"] = {
        **_replica,
        **{name: DATABASES["default"][name] for name in ("ENGINE", "CONN_MAX_AGE")},
        "DISABLE_SERVER_SIDE_CURSORS": True,
        "OPTIONS": {
            **_replica.get("OPTIONS", {}),
            **{name: _options[name] for name in _options if name.startswith(("keepalives", "tcp"))},
            # The primary stands by, so that callers do not wait for long.
            "connect_timeout": 2,
            "pool": {
                **_options["pool"],
                "connection_class": ReplicaConnection,
                "min_size": 0,
                "timeout": 1,
            },
        },
        "TEST": {"MIRROR": "default"},
    }
    DATABASE_ROUTERS = ["aily.database.replica.ReplicaRouter"]
