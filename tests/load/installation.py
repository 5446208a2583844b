"""The installation under test: `make run` in a directory of its own, and a simulator beside it.

The launcher's defaults hold (durable PostgreSQL, append-only Valkey): what is measured is what an
operator would get. Only the upstream is the bench's, so that its answers take a known time.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import psutil
import psycopg

from aily.embedded import database_url
from aily.launcher.programs import BASE_DIR
from aily.launcher.readiness import readiness
from aily.process.lifetimes import end_processes, tied_to_parent
from tests.journal import UpstreamRecord, read_journal
from tests.load.measure import Groups
from tests.ports import free_ports
from tests.prepared import copy_assets, copy_cluster
from tests.running import Running

_READY_SECONDS = 120
#: Workers read the models anew every five seconds.
MODELS_KNOWN_SECONDS = 6.0


@dataclass(frozen=True)
class Upstream:
    """How each simulated answer goes: `latency_seconds` of nothing, then `tokens` in `chunks`
    equal steps until `seconds` have passed since the request."""

    seconds: float
    latency_seconds: float
    tokens: int
    chunks: int
    #: Calls at once; further ones are answered with 429. 0: any number.
    concurrency: int = 0
    #: Whether `Installation.upstream_calls` is asked for.
    is_journaled: bool = False

    def arguments(self) -> list[str]:
        streaming = max(self.seconds - self.latency_seconds, 0.001)
        return [
            *("--latency", str(self.latency_seconds)),
            *("--answer-tokens", str(self.tokens)),
            # The first token does not wait.
            *("--tokens-per-second", str(max(self.tokens - 1, 1) / streaming)),
            *("--write-seconds", str(streaming / self.chunks)),
            *("--writes-per-second", "1000000"),
            *("--concurrency", str(self.concurrency)),
        ]


@dataclass(frozen=True)
class StoredTask:
    """A task's row."""

    task_id: str
    status: str
    attempt: int
    text: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    worker_id: str | None
    crashes: int
    failures: int
    error_code: str | None
    upstream_request_id: str


class Installation(Running):
    """`with Installation(...)`: started and ready; stopped and deleted afterwards.

    `is_first_start`: otherwise it finds what an earlier start has left, which is quicker.
    """

    def __init__(
        self,
        root: Path,
        upstream: Upstream,
        environment: Mapping[str, str],
        *,
        is_first_start: bool = True,
    ) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.data_dir = Path(tempfile.mkdtemp(prefix="stack-", dir=root))
        self._upstream = upstream
        self._is_first_start = is_first_start
        self._simulator: psutil.Popen | None = None
        self._launcher: psutil.Popen | None = None
        self.port, launcher_simulator, metrics, self._simulator_port = free_ports(4)
        self._environment = {
            **os.environ,
            **environment,
            "AILY_DATA_DIR": str(self.data_dir),
            "PORT": str(self.port),
            "SIMULATOR_PORT": str(launcher_simulator),
            "METRICS_PORT": str(metrics),
            "DEMO_MCP_PORT": "0",
            "DATABASE_URL": "",
            "REDIS_URL": "",
            "DEEPSEEK_API_KEY": "",
            "DJANGO_SETTINGS_MODULE": "aily.settings",
        }
        self.base_url = f"http://127.0.0.1:{self.port}"
        self.socket_url = f"ws://127.0.0.1:{self.port}/ws/llmchat/"
        self.simulator_url = f"http://127.0.0.1:{self._simulator_port}"
        self.metrics_url = f"http://127.0.0.1:{metrics}/metrics"

    def start(self) -> None:
        if not self._is_first_start:
            copy_cluster(self.data_dir)
            copy_assets(self.data_dir)
        self.start_simulator()
        self._launcher = self._run("launcher", ["-m", "aily.launcher"])
        self._wait_until_ready()

    def stop(self) -> None:
        for process in (self._launcher, self._simulator):
            if process is not None:
                end_processes([process], grace_seconds=90)
                process.wait()
        shutil.rmtree(self.data_dir, ignore_errors=True)

    def start_simulator(self) -> None:
        """Returns at once; `wait_for_simulator` until it takes calls."""
        arguments = ["-m", "aily.simulator", "--port", str(self._simulator_port)]
        if self._upstream.is_journaled:
            arguments += ["--journal", str(self._journal_file)]
        self._simulator = self._run("simulator", [*arguments, *self._upstream.arguments()])

    def wait_for_simulator(self) -> None:
        deadline = time.monotonic() + _READY_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", self._simulator_port)).close()
                return
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def kill_simulator(self) -> None:
        """kill -9. All its calls end; its journal stays."""
        self.simulator.kill()
        self.simulator.wait()

    def upstream_calls(self) -> UpstreamRecord:
        """What the simulator was asked, over all its lives."""
        return read_journal(self._journal_file)

    @property
    def _journal_file(self) -> Path:
        return self.data_dir / "simulator.journal"

    def _run(self, name: str, arguments: list[str]) -> psutil.Popen:
        with self._log_file(name).open("ab") as output:
            return psutil.Popen(
                tied_to_parent([sys.executable, *arguments]),
                cwd=BASE_DIR,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Ctrl-C is for the bench, which then stops the launcher in order.
                start_new_session=True,
            )

    def _log_file(self, name: str) -> Path:
        return self.data_dir / f"{name}.out"

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + _READY_SECONDS
        while reason := readiness("127.0.0.1", self.port):
            if self.launcher.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the installation is not ready: {reason}\n{self.log_tail()}")
            time.sleep(0.1)

    def seed(self, users: int, cap: int, *, thinking: bool = False) -> list[str]:
        """Make the model and `users` users; returns a key of each."""
        arguments = [str(users), self.simulator_url, str(cap)]
        arguments += ["--thinking"] if thinking else []
        return self._seed("tests.load.seed", *arguments).split()

    def seed_tools(self, url: str) -> None:
        """Make the tool of a service at this URL, and the scene that offers it."""
        self._seed("tests.load.seed_tools", url)

    def _seed(self, module: str, *arguments: str) -> str:
        result = subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=BASE_DIR,
            env=self._environment,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        return result.stdout

    @property
    def launcher(self) -> psutil.Popen:
        """The process whose children are the installation."""
        return self._launcher

    @property
    def simulator(self) -> psutil.Popen:
        return self._simulator

    def groups(self) -> Groups:
        """The processes by their part."""
        return Groups(self.simulator, self.launcher)

    def stored_tasks(self) -> dict[str, StoredTask]:
        return stored_tasks(database_url(self.data_dir))

    def worker_logs(self) -> list[Path]:
        return sorted((self.data_dir / "log").glob("worker-*.log*"))

    def log_files(self) -> dict[str, Path]:
        files = [self._log_file("launcher"), *sorted((self.data_dir / "log").glob("*.log"))]
        return {file.name: file for file in files}


def stored_tasks(database_url: str) -> dict[str, StoredTask]:
    """All rows by task id. Read with SQL: a request a user would take minutes for 10,000."""
    with psycopg.connect(database_url) as connection:
        rows = connection.execute(
            "SELECT id::text, status, attempt, text, created_at, started_at, finished_at, "
            "worker_id::text, crashes, failures, error->>'code', upstream_request_id "
            "FROM chat_task"
        )
        return {row[0]: StoredTask(*row) for row in rows}
