"""What test runs and installations begin with: a migrated database cluster, collected assets.

Each part is made by the process that needs it first, and kept until a file that decides it changes.
A part that is out of date costs time only: its users run `migrate` or `collectstatic` on it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import django
import psycopg
from django.core.management import call_command
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.postgresql.base import DatabaseWrapper

from aily.embedded.addresses import DATABASE_NAME, database_url
from aily.embedded.postgres import EmbeddedPostgres
from aily.launcher.prepare import collect_changed_assets
from aily.launcher.programs import BASE_DIR
from tests.servers import Servers

#: The cluster's database that tests copy. `aily`, beside it, is the installation's own.
MIGRATED = "migrated"

# pytest-xdist's workers inherit the environment: a change of AILY_DATA_DIR does not move it.
TEST_ROOT = Path(
    os.environ.setdefault(
        "AILY_TEST_ROOT",
        str(Path(os.environ.get("AILY_DATA_DIR") or BASE_DIR / "var").resolve() / "test"),
    )
)
_ROOT = TEST_ROOT / "prepared"
_OWN = {
    "AILY_DATA_DIR": str(_ROOT),
    "DATABASE_URL": "",
    "REDIS_URL": "",
    "DATABASE_ANSWER_SECONDS": "0",
}


def _make_cluster() -> None:
    servers = Servers(_ROOT, {"REDIS_URL": "none"})
    servers.end_leftovers()
    with servers:
        _run("migrate")


def _make_assets() -> None:
    _run("collect")


def _run(step: str) -> None:
    """Run a step in a new process: the settings of this process are those of the tests."""
    subprocess.run(
        [sys.executable, "-m", "tests.prepared", step],
        cwd=BASE_DIR,
        env={**os.environ, **_OWN},
        stdout=subprocess.DEVNULL,
        check=True,
    )


@dataclass(frozen=True)
class _Part:
    """A directory of a data directory."""

    name: str
    make: Callable[[], None]
    #: Patterns of the files that decide what is in it.
    sources: Sequence[str]

    def prepare(self) -> None:
        """Make the part unless it is current."""
        with self._locked():
            self._ensure_current()

    def copy_to(self, data_dir: Path) -> None:
        """Replace the directory in `data_dir` by a copy."""
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        source, target = _ROOT / self.name, data_dir / self.name
        with self._locked():
            self._ensure_current()
            shutil.rmtree(target, ignore_errors=True)
            # Not shutil's copy: the files belong to the user the server runs as.
            subprocess.run(["cp", "-a", str(source), str(target)], check=True)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        _ROOT.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (_ROOT / f"{self.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _ensure_current(self) -> None:
        fingerprint, stamp = self._fingerprint(), _ROOT / f"{self.name}.fingerprint"
        if stamp.exists() and stamp.read_text() == fingerprint:
            return
        stamp.unlink(missing_ok=True)
        shutil.rmtree(_ROOT / self.name, ignore_errors=True)
        self.make()
        stamp.write_text(fingerprint)

    def _fingerprint(self) -> str:
        digest = hashlib.sha256(str(BASE_DIR).encode())
        for pattern in self.sources:
            for file in sorted(BASE_DIR.glob(pattern)):
                digest.update(f"{file}\0{_content(file)}".encode())
        return digest.hexdigest()


def _content(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ""


_PACKAGES = ("requirements.lock", "tests/prepared.py")
_CLUSTER = _Part(
    "postgres",
    _make_cluster,
    (
        *_PACKAGES,
        "aily/settings/*.py",
        "aily/embedded/*.py",
        "*/apps.py",
        "*/models.py",
        "*/models/**/*.py",
        "*/migrations/*.py",
    ),
)
_ASSETS = _Part("static", _make_assets, (*_PACKAGES, "static/**/*", "aily/**/staticfiles.py"))


def prepare_all() -> None:
    """Make the parts that are missing or out of date."""
    for part in (_CLUSTER, _ASSETS):
        part.prepare()


def copy_cluster(data_dir: Path) -> None:
    """Put a PostgreSQL cluster with migrated databases into a data directory."""
    _CLUSTER.copy_to(data_dir)


def copy_assets(data_dir: Path) -> None:
    """Put collected static files into a data directory."""
    _ASSETS.copy_to(data_dir)


def _migrate() -> None:
    """Fill the cluster of AILY_DATA_DIR, whose server runs."""
    EmbeddedPostgres(_ROOT).create_database()
    call_command("migrate", interactive=False, verbosity=0)
    # PostgreSQL copies no database that has connections.
    connection = connections[DEFAULT_DB_ALIAS]
    assert isinstance(connection, DatabaseWrapper)
    connection.close()
    connection.close_pool()
    with psycopg.connect(database_url(_ROOT, "postgres"), autocommit=True) as server:
        server.execute(f"CREATE DATABASE {MIGRATED} TEMPLATE {DATABASE_NAME}")


if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = "aily.settings"
    django.setup()
    if sys.argv[1] == "migrate":
        _migrate()
    else:
        collect_changed_assets(clear=True)
