"""What starts of installations and test databases begin with: migrated databases, collected assets.

Made once, by whichever process needs it first, and kept for as long as the code is the same. What
tests a first start begins with an empty directory instead.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aily.embedded.addresses import DATABASE_NAME, database_url
from aily.embedded.postgres import EmbeddedPostgres
from aily.launcher.programs import BASE_DIR
from tests.servers import Servers

#: The databases of the cluster: as migrations leave it, and as `make run` prepares its own.
MIGRATED = "migrated"
SEEDED = DATABASE_NAME
#: What of the environment would be found in the databases, or leads elsewhere.
_FOREIGN = ("DEEPSEEK_API_KEY", "CACHE_URL")
_CODE = ("aily", "accounts", "chat", "requirements.txt", "tests/prepared.py")


# pytest-xdist's workers inherit the environment: a change of AILY_DATA_DIR does not move it.
TEST_ROOT = Path(
    os.environ.setdefault(
        "AILY_TEST_ROOT",
        str(Path(os.environ.get("AILY_DATA_DIR") or BASE_DIR / "var").resolve() / "test"),
    )
)
_ROOT = TEST_ROOT / "prepared"


def make_prepared() -> None:
    """Have it made, if it is not there already."""
    with _prepared():
        pass


def copy_prepared(part: str, data_dir: Path) -> None:
    """Put "postgres" or "static" into a data directory, in the place of what is there."""
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _prepared():
        shutil.rmtree(data_dir / part, ignore_errors=True)
        # Not shutil's copy: the files belong to whom the server runs as.
        subprocess.run(["cp", "-a", str(_ROOT / part), str(data_dir / part)], check=True)


@contextmanager
def _prepared() -> Iterator[None]:
    """It is there, and nobody changes it meanwhile."""
    _ROOT.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (_ROOT / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        code, stamp = _fingerprint(), _ROOT / "code"
        if not stamp.exists() or stamp.read_text() != code:
            stamp.unlink(missing_ok=True)
            _make()
            stamp.write_text(code)
        yield


def _fingerprint() -> str:
    """Of everything that may be decided by what migrations and demo content are."""
    digest = hashlib.sha256(str(BASE_DIR).encode())
    for name in _CODE:
        path = BASE_DIR / name
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            digest.update(file.read_bytes())
    return digest.hexdigest()


def _make() -> None:
    own = {"AILY_DATA_DIR": str(_ROOT), "DATABASE_URL": "", "REDIS_URL": ""}
    environment = {key: value for key, value in os.environ.items() if key not in _FOREIGN}
    servers = Servers(_ROOT, own)
    servers.end_leftovers()
    for part in ("postgres", "static"):
        shutil.rmtree(_ROOT / part, ignore_errors=True)
    with servers:
        subprocess.run(
            [sys.executable, "-m", "tests.prepared"],
            cwd=BASE_DIR,
            env={**environment, **own, "DATABASE_ANSWER_SECONDS": "0"},
            stdout=subprocess.DEVNULL,
            check=True,
        )


def main() -> None:
    """Fill the cluster of AILY_DATA_DIR, whose servers run."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "aily.settings"
    import django
    import psycopg
    from django.conf import settings
    from django.core.management import call_command
    from django.db import DEFAULT_DB_ALIAS, connections

    from aily.database.backend.base import DatabaseWrapper
    from aily.launcher.prepare import prepare

    EmbeddedPostgres(settings.DATA_DIR).create_database()
    django.setup()
    call_command("migrate", interactive=False, verbosity=0)
    # A database that somebody is connected to is no template.
    connection = connections[DEFAULT_DB_ALIAS]
    assert isinstance(connection, DatabaseWrapper)
    connection.close()
    connection.close_pool()
    with psycopg.connect(database_url(settings.DATA_DIR, "postgres"), autocommit=True) as server:
        server.execute(f"CREATE DATABASE {MIGRATED} TEMPLATE {DATABASE_NAME}")
    prepare(demo=True)


if __name__ == "__main__":
    main()
