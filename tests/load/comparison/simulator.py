"""The one provider behind all contenders: 0.2 s to the first token, then 200 a second."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import httpx
import psutil

from aily.launcher.programs import BASE_DIR
from aily.process.lifetimes import end_processes, tied_to_parent
from tests.ports import free_ports
from tests.running import Running

#: With some ten of reasoning before them an answer takes about 0.48 s.
ANSWER_TOKENS = 40
_LATENCY_SECONDS = 0.2
_TOKENS_PER_SECOND = 200
_READY_SECONDS = 60


class Simulator(Running):
    """`with` starts and stops it."""

    def __init__(self, scratch: Path) -> None:
        (self._port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self._port}"
        self._log_file = scratch / "simulator.out"

    def start(self) -> None:
        command = [
            *(sys.executable, "-m", "aily.simulator", "--port", str(self._port)),
            *("--latency", str(_LATENCY_SECONDS), "--answer-tokens", str(ANSWER_TOKENS)),
            *("--tokens-per-second", str(_TOKENS_PER_SECOND)),
        ]
        with self._log_file.open("wb") as output:
            self._process = psutil.Popen(
                tied_to_parent(command),
                cwd=BASE_DIR,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self._wait_until_ready()

    def stop(self) -> None:
        end_processes([self._process], grace_seconds=10)
        self._process.wait()

    def cpu_seconds(self) -> float:
        return float(sum(self._process.cpu_times()[:2]))

    def log_files(self) -> Mapping[str, Path]:
        return {"simulator": self._log_file}

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + _READY_SECONDS
        while True:
            try:
                httpx.get(f"{self.url}/stats", timeout=5).raise_for_status()
                return
            except httpx.HTTPError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
