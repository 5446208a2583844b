"""A streaming replica of the tests' PostgreSQL, which logs every statement it is asked."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import psycopg

from aily.embedded import postgres
from aily.embedded.addresses import database_url
from aily.embedded.postgres import EmbeddedPostgres
from aily.embedded.service import make_private, wait_until_ready
from tests.running import Running


class _Cluster(EmbeddedPostgres):
    """Copied from a running server, and fed by it."""

    primary: dict[str, str]

    def _create_cluster(self) -> None:
        postgres._make_private_to_server(self.working_dir)
        where = [f"--{key}={self.primary[key]}" for key in ("host", "port") if key in self.primary]
        command = [
            *(str(postgres._binary("pg_basebackup")), "--pgdata", str(self.working_dir)),
            *(*where, "--username", self.primary["user"], "--checkpoint=fast", "--no-sync"),
            *("--wal-method=stream", "--write-recovery-conf"),
        ]
        subprocess.run(postgres._as_server(command), cwd=self.working_dir, check=True)

    def command(self) -> list[str]:
        return [*super().command(), "-c", "log_statement=all"]


class Replica(Running):
    """`with Replica(...)`: follows the primary. Its process may be killed."""

    def __init__(self, data_dir: Path, primary: dict[str, str]) -> None:
        make_private(data_dir.parent)
        shutil.rmtree(data_dir, ignore_errors=True)
        data_dir.mkdir(mode=0o711, parents=True)
        self.cluster = _Cluster(data_dir, durable=False)
        object.__setattr__(self.cluster, "primary", primary)
        self.log = data_dir / "replica.log"
        self.data_dir = data_dir
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.cluster.prepare()
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                self.cluster.command(),
                cwd=self.cluster.working_dir,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        wait_until_ready(self.cluster, self.log)

    def log_files(self) -> dict[str, Path]:
        return {"replica": self.log}

    def stop(self) -> None:
        if self.process is None:
            return
        self.process.send_signal(self.cluster.stop_signal)
        self.process.wait(30)

    def url(self, database: str) -> str:
        return database_url(self.data_dir, database)

    def reads_of(self, table: str) -> int:
        """How many statements have read this table, so far."""
        return len(re.findall(rf'FROM "{table}"', self.log.read_text(errors="replace")))

    def pause(self) -> None:
        """Replay nothing any more; the log still comes."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute("SELECT pg_wal_replay_pause()")

    def resume(self) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute("SELECT pg_wal_replay_resume()")
