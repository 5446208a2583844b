"""Sockets, directories and URLs of the embedded servers, derived from the data directory."""

from __future__ import annotations

import hashlib
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlencode

#: Role and database of the embedded PostgreSQL.
DATABASE_NAME = "aily"

#: The kernel takes 107 bytes (103 on macOS); supervisor adds its pid while it creates a socket.
_SOCKET_PATH_MAX_BYTES = 95


def runtime_dir(data_dir: Path) -> Path:
    """Directory of the sockets and pid files, private to the user who runs aily.

    If the data directory's path is too long for a socket, it is under /tmp, named after the data
    directory, so that every process finds it. `service.make_private` refuses it there if it
    belongs to another user.
    """
    nearby = data_dir / "run"
    if len(bytes(nearby / "postgres" / ".s.PGSQL.5432")) <= _SOCKET_PATH_MAX_BYTES:
        return nearby
    digest = hashlib.sha256(bytes(data_dir)).hexdigest()[:16]
    return Path("/tmp") / f"aily-{digest}"  # noqa: S108 (owner and mode are checked before use)


def log_dir(data_dir: Path) -> Path:
    """Directory of all logs."""
    return data_dir / "log"


def metrics_dir(data_dir: Path) -> Path:
    """Directory of the files through which the processes share their metrics."""
    return runtime_dir(data_dir) / "metrics"


def postgres_socket_dir(data_dir: Path) -> Path:
    """PostgreSQL's own socket directory: as root, the server runs as another user."""
    return runtime_dir(data_dir) / "postgres"


def valkey_socket(data_dir: Path) -> Path:
    return runtime_dir(data_dir) / "valkey.sock"


def database_url(data_dir: Path, database: str = DATABASE_NAME) -> str:
    """URL of a database of the embedded PostgreSQL, as django-environ and libpq read it."""
    socket_dir = quote(str(postgres_socket_dir(data_dir)), safe="")
    return f"postgres://{DATABASE_NAME}@/{database}?host={socket_dir}"


def redis_url(data_dir: Path, database: int) -> str:
    """URL of database 0 to 15 of the embedded Valkey."""
    return f"unix://{quote(str(valkey_socket(data_dir)))}?db={database}"


def with_redis_database(url: str, database: int) -> str:
    """The same Redis server, another database number.

    A `db` in the query wins over one in the path, for redis-py as well, and a unix socket's path
    is its file: so the number is always put into the query.
    """
    # Not urlsplit: newer versions of Python refuse a list of Sentinels with an IPv6 address.
    address, _, query = url.partition("#")[0].partition("?")
    others = [(key, value) for key, value in parse_qsl(query) if key != "db"]
    return f"{address}?{urlencode([*others, ('db', str(database))])}"
