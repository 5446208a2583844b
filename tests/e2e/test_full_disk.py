"""`make run` on a disk that fills up: submits are refused, reads go on, and it comes back."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

import httpx
import psutil
import psycopg
import pytest

from aily.embedded.addresses import database_url, log_dir
from aily.embedded.postgres import EmbeddedPostgres
from aily.launcher.programs import BASE_DIR
from tests.full_disk import fill, make_room, small_disk
from tests.launched import Launched, launched, wait_for_ready_line, wait_until
from tests.ports import free_ports
from tests.prepared import copy_assets, copy_cluster

_DISK_BYTES = 512 << 20
_LOG_DISK_BYTES = 192 << 20
_BODY = {"messages": [{"role": "user", "content": "ping"}]}


def api_key(data_dir: Path) -> str:
    made = subprocess.run(
        [sys.executable, "manage.py", "create_api_key", "demo"],
        cwd=BASE_DIR,
        env={**os.environ, "AILY_DATA_DIR": str(data_dir), "DATABASE_URL": "", "REDIS_URL": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    return made.stdout.split()[-1]


def service_pids(launcher: Launched) -> set[int]:
    words = ("supervisord", "bin/postgres -D", "valkey-server", "servers.daphne", "aily.exporter")
    return {pid for word in words for pid in _without_forks(launcher.matching(word))}


def _without_forks(processes: list[psutil.Process]) -> Iterator[int]:
    """What a process has just forked, such as PostgreSQL for a connection, still has its command
    line."""
    pids = {process.pid for process in processes}
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            if process.ppid() not in pids:
                yield process.pid


def write_ahead(data_dir: Path) -> None:
    """Write a gigabyte of log records, unless PostgreSQL breaks off. No row is changed."""
    with psycopg.connect(database_url(data_dir, "postgres"), autocommit=True) as session:
        for _ in range(1_000):
            session.execute("SELECT pg_logical_emit_message(false, 'test', repeat('x', 1048576))")
            session.execute("SELECT pg_switch_wal()")


def move_log_to(disk: Path, data_dir: Path) -> None:
    """Put PostgreSQL's write-ahead log on a disk of its own."""
    log = EmbeddedPostgres(data_dir).working_dir / "pg_wal"
    moved = shutil.copytree(log, disk / "pg_wal")
    for path in [moved, *moved.rglob("*")]:
        os.chown(path, log.stat().st_uid, log.stat().st_gid)
    moved.chmod(0o700)
    shutil.rmtree(log)
    log.symlink_to(moved)


def answering_site(launcher: Launched, data_dir: Path) -> httpx.Client:
    """A client of what was launched, once that is ready. To be closed."""
    wait_for_ready_line(launcher)
    return httpx.Client(
        base_url=f"http://127.0.0.1:{launcher.port}",
        headers={"Authorization": f"Bearer {api_key(data_dir)}"},
        timeout=20,
    )


def answered_task(site: httpx.Client) -> str:
    """The id of a task that was accepted and has succeeded."""
    accepted = site.post("/api/llmchat/request?sync=false", json=_BODY)
    assert accepted.status_code == 202, accepted.text
    task_id: str = accepted.json()["task_id"]
    path = f"/api/llmchat/tasks/{task_id}"
    wait_until(lambda: site.get(path).json()["status"] == "succeeded", "no answer")
    return task_id


@pytest.mark.slow
def test_postgresql_that_panics_on_a_full_disk_comes_back_by_itself(tmp_path: Path) -> None:
    """Its log has a disk of its own, whose free bytes nothing checks beforehand."""
    data_dir = tmp_path / "data"
    copy_cluster(data_dir)
    copy_assets(data_dir)
    with small_disk(tmp_path / "disk", _LOG_DISK_BYTES) as disk, ExitStack() as resources:
        move_log_to(disk, data_dir)
        with launched(data_dir) as launcher:
            site = resources.enter_context(answering_site(launcher, data_dir))
            submit = partial(site.post, "/api/llmchat/request?sync=false", json=_BODY)
            task = f"/api/llmchat/tasks/{answered_task(site)}"

            fill(disk)
            with pytest.raises(psycopg.OperationalError):
                write_ahead(data_dir)
            assert "PANIC" in (log_dir(data_dir) / "postgres-0.log").read_text()
            # Recovery may find room in the segments that there are: then submits are accepted.
            assert submit().status_code in (202, 503)
            assert launcher.process.poll() is None

            make_room(disk)
            wait_until(lambda: submit().status_code == 202, "it does not come back")
            assert site.get(task).json()["status"] == "succeeded"
            assert launcher.process.poll() is None


@pytest.mark.slow
def test_a_full_disk_ends_no_process_and_refuses_submits_until_there_is_room(
    tmp_path: Path,
) -> None:
    metrics_port = free_ports(1)[0]
    with small_disk(tmp_path / "disk", _DISK_BYTES) as disk, ExitStack() as resources:
        data_dir = disk / "data"
        copy_cluster(data_dir)
        copy_assets(data_dir)
        with launched(data_dir, METRICS_PORT=str(metrics_port)) as launcher:
            site = resources.enter_context(answering_site(launcher, data_dir))
            submit = partial(site.post, "/api/llmchat/request?sync=false", json=_BODY)
            task = f"/api/llmchat/tasks/{answered_task(site)}"
            before = service_pids(launcher)

            fill(disk)
            wait_until(lambda: submit().status_code == 503, "a submit is accepted")
            # What is written meanwhile: metrics with labels of their own, logs, heartbeats.
            for _ in range(30):
                refused = submit()
                assert refused.status_code == 503
                assert refused.json()["code"] == "storage_full", refused.text
                assert refused.headers["Retry-After"] == "10"
                assert site.get(task).json()["status"] == "succeeded"
                assert (
                    httpx.get(f"http://127.0.0.1:{metrics_port}/metrics", timeout=30).status_code
                    == 200
                )
            assert site.get("/api/llmchat/tasks").status_code == 200
            assert service_pids(launcher) == before
            assert launcher.process.poll() is None

            make_room(disk)
            wait_until(lambda: submit().status_code == 202, "it does not come back")
            assert service_pids(launcher) == before
