"""Every process and command refuses a wrong variable, and commands do not wait for servers."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from django.db import connection

from aily.launcher.programs import BASE_DIR
from tests.databases import url_of
from tests.ports import free_ports

_PYTHON = sys.executable
#: A process that waits for a server takes longer than this, on a busy machine as well.
_LIMIT_SECONDS = 60
_START = ("sh", "deploy/start.sh")
_PROCESSES = {
    "manage.py": (_PYTHON, "manage.py", "migrate"),
    "launcher": (_PYTHON, "-m", "aily.launcher"),
    "prepare": (_PYTHON, "-m", "aily.launcher.prepare"),
    "daphne": (_PYTHON, "-m", "aily.web.servers.daphne", "aily.asgi:application"),
    "uvicorn": (_PYTHON, "-m", "aily.web.servers.uvicorn", "--port", "0"),
    "worker": (_PYTHON, "-m", "dramatiq", "aily.worker", "--processes", "1"),
    "exporter": (_PYTHON, "-m", "aily.exporter"),
    "scheduler": (_PYTHON, "manage.py", "crontab"),
    "start.sh web": (*_START, "web"),
    "start.sh worker": (*_START, "worker"),
}
#: Each start costs a second of CPU: one of each kind that reads the variables by a way of its own.
_QUICK = ("manage.py", "daphne", "worker")


def run(
    command: tuple[str, ...], data_dir: Path, **variables: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=BASE_DIR,
        env={**os.environ, "AILY_DATA_DIR": str(data_dir), **variables},
        capture_output=True,
        text=True,
        timeout=_LIMIT_SECONDS,
        check=False,
    )


@pytest.mark.parametrize(
    "process",
    [name if name in _QUICK else pytest.param(name, marks=pytest.mark.slow) for name in _PROCESSES],
)
def test_a_wrong_variable_ends_every_process_with_one_sentence(
    process: str, tmp_path: Path
) -> None:
    wrong = {"WORKER_GRACE_SECONDS": "soon", "WEB_SERVER": "daphne"}

    ended = run(_PROCESSES[process], tmp_path, **wrong)

    assert ended.returncode == 2, ended.stderr
    assert ended.stderr.count("WORKER_GRACE_SECONDS must be a number") == 1
    assert "Traceback" not in ended.stderr + ended.stdout
    # Dramatiq's master adds a line or two of its own.
    own = [line for line in ended.stderr.splitlines() if "[dramatiq." not in line]
    assert len(own) == 1, ended.stderr


@pytest.fixture
def silent_server() -> Iterator[int]:
    """The port of a server that accepts connections, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def one_sentence(ended: subprocess.CompletedProcess[str]) -> str:
    assert ended.returncode == 2, ended.stderr
    [sentence] = ended.stderr.splitlines()
    return sentence


@pytest.mark.parametrize(
    "command",
    [
        ("migrate",),
        pytest.param(("purge_tasks", "--older-than", "30d"), marks=pytest.mark.slow),
        pytest.param(("pauses",), marks=pytest.mark.slow),
    ],
)
def test_a_command_without_postgresql_says_so_and_ends(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    url = f"postgres://aily@127.0.0.1:{free_ports(1)[0]}/aily"

    ended = run((_PYTHON, "manage.py", *command), tmp_path, DATABASE_URL=url)

    assert "PostgreSQL cannot be used (DATABASE_URL): nothing answers" in one_sentence(ended)


@pytest.mark.slow
def test_a_command_without_postgresqls_own_socket_says_so_and_ends(tmp_path: Path) -> None:
    url = f"postgres://aily@:{free_ports(1)[0]}/aily"

    ended = run((_PYTHON, "manage.py", "migrate"), tmp_path, DATABASE_URL=url)

    assert "nothing answers at /var/run/postgresql/.s.PGSQL." in one_sentence(ended)


def test_a_command_does_not_wait_for_a_postgresql_that_says_nothing(
    silent_server: int, tmp_path: Path
) -> None:
    url = f"postgres://aily@127.0.0.1:{silent_server}/aily"
    # The pool alone would wait for longer than the command may take.
    long = str(2 * _LIMIT_SECONDS)

    ended = run(
        (_PYTHON, "manage.py", "migrate"),
        tmp_path,
        DATABASE_URL=url,
        DATABASE_POOL_TIMEOUT_SECONDS=long,
    )

    assert "PostgreSQL cannot be used" in one_sentence(ended)


@pytest.mark.parametrize("command", ["pauses", pytest.param("warm_cache", marks=pytest.mark.slow)])
def test_a_command_without_redis_says_so_and_ends(
    command: str, tmp_path: Path, db: None, database_server: Mapping[str, str]
) -> None:
    database = url_of(database_server, str(connection.settings_dict["NAME"]))
    redis = {"REDIS_URL": f"redis://127.0.0.1:{free_ports(1)[0]}", "CACHE_URL": ""}

    ended = run((_PYTHON, "manage.py", command), tmp_path, DATABASE_URL=database, **redis)

    assert "Error 111" in one_sentence(ended)


@pytest.mark.slow
def test_a_command_without_embedded_servers_says_so_and_ends(tmp_path: Path) -> None:
    ended = run((_PYTHON, "manage.py", "migrate"), tmp_path, DATABASE_URL="", REDIS_URL="")

    assert "nothing answers at" in one_sentence(ended)
