"""A launcher started from outside, with a data directory of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from aily.launcher.programs import BASE_DIR
from aily.launcher.readiness import readiness
from tests import waiting
from tests.ports import free_ports

DEADLINE_SECONDS = 180


@dataclass
class Launched:
    """A launcher, with its output in a file."""

    process: subprocess.Popen[bytes]
    data_dir: Path
    port: int
    output_file: Path

    @property
    def output(self) -> str:
        return self.output_file.read_text()

    def processes(self) -> list[psutil.Process]:
        """Everything alive that belongs to this data directory, the launcher included."""
        return self.matching("")

    def matching(self, words: str) -> list[psutil.Process]:
        """Those of them whose command line has the words."""
        return [process for process in psutil.process_iter() if self._matches(process, words)]

    def _matches(self, process: psutil.Process, words: str) -> bool:
        try:
            command_line = " ".join(process.cmdline())
            if process.status() == psutil.STATUS_ZOMBIE or words not in command_line:
                return False
            own_directory = process.environ().get("AILY_DATA_DIR") == str(self.data_dir)
        except psutil.Error:
            return False
        return own_directory or str(self.data_dir) in command_line

    def is_ready(self) -> bool:
        return readiness("127.0.0.1", self.port) == ""


def wait_until(condition: Callable[[], object], what: str) -> None:
    waiting.wait_until(condition, what, DEADLINE_SECONDS)


@contextmanager
def launched(data_dir: Path, port: int = 0, **variables: str) -> Iterator[Launched]:
    """A launcher with one web and one worker process and its own data directory."""
    port = port or free_ports(2)[0]
    environment = {
        **{key: value for key, value in os.environ.items() if key != "DEEPSEEK_API_KEY"},
        "AILY_DATA_DIR": str(data_dir),
        "PORT": str(port),
        "DATABASE_URL": "",
        "REDIS_URL": "",
        "METRICS_PORT": "0",
        "WEB_PROCESSES": "1",
        "WORKER_PROCESSES": "1",
        "WORKER_GRACE_SECONDS": "2",
        "DATABASE_POOL_TIMEOUT_SECONDS": "1",
        **variables,
    }
    data_dir.mkdir(parents=True, exist_ok=True)
    output_file = data_dir / f"output-{port}"
    with (
        output_file.open("wb") as output,
        subprocess.Popen(
            [sys.executable, "-m", "aily.launcher"],
            cwd=BASE_DIR,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        try:
            yield Launched(process, data_dir, port, output_file)
        finally:
            process.terminate()


def wait_for_ready_line(launcher: Launched) -> None:
    def settled() -> bool:
        return "\nready " in launcher.output or launcher.process.poll() is not None

    wait_until(settled, "neither ready nor ended")
    assert f"\nready http://127.0.0.1:{launcher.port}\n" in launcher.output, launcher.output
