"""Further databases on the server of the tests."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

import psycopg


def make_database(server: Mapping[str, Any], name: str, template: str) -> None:
    """Make a copy of `template` in the place of any that is there. `server`: how libpq reaches it.

    With DATABASE_URL the new database is empty: that server has none of our templates.
    """
    if os.environ.get("DATABASE_URL"):
        template = "template1"
    with psycopg.connect(**server, dbname="postgres", autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")


def url_of(server: Mapping[str, str], database: str) -> str:
    """Everything but the name in the query, where a socket's directory can stand as well."""
    user = quote(server.get("user", ""))
    password = quote(server.get("password", ""))
    where = urlencode([(key, server[key]) for key in ("host", "port") if key in server])
    return f"postgres://{user}:{password}@/{database}?{where}"
