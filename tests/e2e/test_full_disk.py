"""`make run` on a disk that fills up: submits are refused, reads go on, and it comes back."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import httpx

from aily.launcher.programs import BASE_DIR
from tests.full_disk import fill, make_room, small_disk
from tests.launched import Launched, launched, wait_for_ready_line, wait_until
from tests.ports import free_ports
from tests.prepared import copy_assets, copy_cluster

_DISK_BYTES = 512 << 20
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
    return {process.pid for word in words for process in launcher.matching(word)}


def test_a_full_disk_ends_no_process_and_refuses_submits_until_there_is_room(
    tmp_path: Path,
) -> None:
    metrics_port = free_ports(1)[0]
    with small_disk(tmp_path / "disk", _DISK_BYTES) as disk, ExitStack() as resources:
        data_dir = disk / "data"
        copy_cluster(data_dir)
        copy_assets(data_dir)
        with launched(data_dir, METRICS_PORT=str(metrics_port)) as launcher:
            wait_for_ready_line(launcher)
            site = resources.enter_context(
                httpx.Client(
                    base_url=f"http://127.0.0.1:{launcher.port}",
                    headers={"Authorization": f"Bearer {api_key(data_dir)}"},
                    timeout=20,
                )
            )

            def submit() -> httpx.Response:
                return site.post("/api/llmchat/request?sync=false", json=_BODY)

            accepted = submit()
            assert accepted.status_code == 202, accepted.text
            task = f"/api/llmchat/tasks/{accepted.json()['task_id']}"
            wait_until(lambda: site.get(task).json()["status"] == "succeeded", "no answer")
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
                assert httpx.get(f"http://127.0.0.1:{metrics_port}/metrics").status_code == 200
            assert site.get("/api/llmchat/tasks").status_code == 200
            assert service_pids(launcher) == before
            assert launcher.process.poll() is None

            make_room(disk)
            wait_until(lambda: submit().status_code == 202, "it does not come back")
            assert service_pids(launcher) == before
