"""The embedded PostgreSQL comes back after every kind of end."""

from __future__ import annotations

import os
from pathlib import Path

import psycopg

from aily.embedded import database_url
from aily.embedded.postgres import EmbeddedPostgres
from tests.aily.embedded.running import running


def test_postgres_keeps_committed_rows_over_a_kill_and_an_occupied_pid(tmp_path: Path) -> None:
    service = EmbeddedPostgres(tmp_path / "odd, %d 'name'")
    service.data_dir.mkdir()
    log_file = tmp_path / "log"
    with running(service, log_file) as process:
        service.create_database()
        service.create_database()
        with psycopg.connect(database_url(service.data_dir)) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        process.kill()
        process.wait()
    lines = service.pid_file.read_text().splitlines()
    service.pid_file.write_text("\n".join([str(os.getpid()), *lines[1:]]))

    with (
        running(service, log_file),
        psycopg.connect(database_url(service.data_dir)) as connection,
    ):
        assert connection.execute("SELECT answer FROM kept").fetchall() == [(42,)]
        assert connection.execute("SHOW listen_addresses").fetchall() == [("",)]


def test_postgres_begins_anew_after_an_interrupted_creation(tmp_path: Path) -> None:
    service = EmbeddedPostgres(tmp_path, durable=False)
    half_made = service.working_dir.with_suffix(".new")
    half_made.mkdir(parents=True)
    (half_made / "PG_VERSION").write_text("18")

    with running(service, tmp_path / "log"):
        assert service.reason_not_ready() == ""
