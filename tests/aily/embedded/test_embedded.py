"""The embedded servers: addresses, privacy, and coming back after every kind of end."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import environ
import psutil
import psycopg
import pytest
import redis

from aily.embedded import database_url, redis_url, with_redis_database
from aily.embedded.addresses import postgres_socket_dir, runtime_dir, valkey_socket
from aily.embedded.postgres import EmbeddedPostgres
from aily.embedded.service import (
    EmbeddedService,
    EmbeddedServiceError,
    make_private,
    wait_until_ready,
)
from aily.embedded.valkey import EmbeddedValkey

SOCKET_PATH_MAX_BYTES = 107


@contextmanager
def running(service: EmbeddedService, log_file: Path) -> Iterator[subprocess.Popen[bytes]]:
    service.prepare()
    with (
        log_file.open("wb") as output,
        subprocess.Popen(
            service.command(), cwd=service.working_dir, stdout=output, stderr=subprocess.STDOUT
        ) as process,
    ):
        try:
            wait_until_ready(service, log_file, timeout_seconds=20)
            yield process
        finally:
            process.send_signal(service.stop_signal)


@pytest.mark.parametrize("directory", ["/srv/aily/var", "/" + "deep/" * 40 + "var", "/a b/c%,ü?"])
def test_sockets_fit_the_kernels_limit_for_any_data_directory(directory: str) -> None:
    data_dir = Path(directory)

    for path in (postgres_socket_dir(data_dir) / ".s.PGSQL.5432", valkey_socket(data_dir)):
        assert len(bytes(path)) <= SOCKET_PATH_MAX_BYTES


def test_two_deep_data_directories_share_no_sockets() -> None:
    deep = Path("/" + "deep/" * 40)

    assert runtime_dir(deep / "one") != runtime_dir(deep / "two")


@pytest.mark.parametrize("directory", ["/srv/aily/var", "/a b/c%,ü?&"])
def test_settings_read_the_same_addresses_that_the_servers_use(directory: str) -> None:
    data_dir = Path(directory)

    database = environ.Env.db_url_config(database_url(data_dir))
    client = redis.Redis.from_url(redis_url(data_dir, 3))

    assert database["NAME"] == "aily"
    assert database["OPTIONS"]["host"] == str(postgres_socket_dir(data_dir))
    assert client.get_connection_kwargs() == {"path": str(valkey_socket(data_dir)), "db": 3}


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("redis://cache.example:6380/0", {"host": "cache.example", "port": 6380}),
        ("rediss://:p%40ss@cache.example/4?db=5", {"host": "cache.example", "password": "p@ss"}),
        ("unix:///run/valkey.sock?db=1", {"path": "/run/valkey.sock"}),
    ],
)
def test_another_redis_database_is_on_the_same_server(url: str, kept: dict[str, object]) -> None:
    client = redis.Redis.from_url(with_redis_database(url, 7))

    assert client.get_connection_kwargs() == {**kept, "db": 7}


def test_a_directory_of_someone_else_is_refused(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to("/tmp")  # noqa: S108 - anyone's

    with pytest.raises(EmbeddedServiceError, match="another user"):
        make_private(link)


def test_an_open_directory_of_ours_is_closed(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)

    make_private(tmp_path)

    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700


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


def test_valkey_listens_on_a_private_socket_only(tmp_path: Path) -> None:
    service = EmbeddedValkey(tmp_path)

    with (
        running(service, tmp_path / "log"),
        redis.Redis.from_url(redis_url(tmp_path, 0), decode_responses=True) as client,
    ):
        assert client.config_get("port") == {"port": "0"}
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert stat.S_IMODE(runtime_dir(tmp_path).stat().st_mode) == 0o700
        assert stat.S_IMODE(valkey_socket(tmp_path).stat().st_mode) == 0o700


def test_valkey_keeps_its_data_over_a_restart(tmp_path: Path) -> None:
    service = EmbeddedValkey(tmp_path)
    with (
        running(service, tmp_path / "log"),
        redis.Redis.from_url(redis_url(tmp_path, 0), decode_responses=True) as client,
    ):
        client.set("name", "value")

    with (
        running(service, tmp_path / "log"),
        redis.Redis.from_url(redis_url(tmp_path, 0), decode_responses=True) as client,
    ):
        assert client.get("name") == "value"


def test_a_server_that_never_answers_is_reported_with_its_log(tmp_path: Path) -> None:
    service = EmbeddedValkey(tmp_path)

    with pytest.raises(EmbeddedServiceError, match=r"valkey did not become ready.*the\.log"):
        wait_until_ready(service, tmp_path / "the.log", timeout_seconds=0.1)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's help is Linux's")
@pytest.mark.parametrize("kind", [EmbeddedPostgres, EmbeddedValkey])
def test_a_server_ends_with_the_process_that_started_it(
    kind: type[EmbeddedPostgres | EmbeddedValkey], tmp_path: Path
) -> None:
    service = kind(tmp_path, durable=False)
    service.prepare()
    program = (
        "import subprocess, sys, time; "
        "print(subprocess.Popen(sys.argv[1:], stdout=2).pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, *service.command()],
        cwd=service.working_dir,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as starter:
        assert starter.stdout is not None
        server = psutil.Process(int(starter.stdout.readline()))
        wait_until_ready(service, tmp_path / "log", timeout_seconds=20)

        starter.send_signal(signal.SIGKILL)

    deadline = time.monotonic() + 10
    while server.is_running() and server.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "still running"
        time.sleep(0.02)
