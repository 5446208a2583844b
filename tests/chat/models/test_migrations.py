"""Migrations that are more than what Django writes."""

from __future__ import annotations

import os
import subprocess
import sys

import psycopg
import pytest

from aily.launcher.programs import BASE_DIR
from tests.databases import make_database, url_of
from tests.prepared import MIGRATED

_DATABASE = "aily_migrations"
_INDEXES = """
SELECT indexdef FROM pg_indexes JOIN pg_index ON indexrelid = indexname::regclass
 WHERE tablename = 'chat_task' AND indisvalid ORDER BY indexdef
"""
#: Back, and forward again past what an attempt that broke off has left.
_BACK_AND_FORTH = """
from django.core.management import call_command
from django.db import connection
call_command("migrate", "chat", "0010", verbosity=0)
with connection.cursor() as cursor:
    cursor.execute("CREATE INDEX task_conversation ON chat_task (owner_id)")
    cursor.execute("CREATE INDEX unique_owner_idempotency_key_new ON chat_task (lane)")
call_command("migrate", verbosity=0)
"""


@pytest.mark.slow
@pytest.mark.skipif("DATABASE_URL" in os.environ, reason="not the embedded server")
def test_indexes_built_beside_the_running_site_are_those_of_a_new_one(
    database_server: dict[str, str],
) -> None:
    make_database(database_server, _DATABASE, MIGRATED)
    url = url_of(database_server, _DATABASE)
    with psycopg.connect(url, autocommit=True) as connection:
        of_a_new_one = connection.execute(_INDEXES).fetchall()
        subprocess.run(
            [sys.executable, "manage.py", "shell", "--verbosity", "0", "-c", _BACK_AND_FORTH],
            cwd=BASE_DIR,
            env={**os.environ, "DATABASE_URL": url},
            check=True,
        )
        assert len(of_a_new_one) > 5
        assert connection.execute(_INDEXES).fetchall() == of_a_new_one
