"""Who is compared: the provider itself without anything before it, and what a gateway must say."""

from __future__ import annotations

import os
import subprocess
import time
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import ClassVar

import httpx
import psutil
from rich.console import Console

from aily.launcher.programs import BASE_DIR
from aily.process.lifetimes import end_processes, tied_to_parent
from tests.ports import free_ports
from tests.running import Running

#: Where rivals are installed, each into a directory of its own.
INSTALLED = BASE_DIR / "var" / "bench" / "rivals"
_READY_SECONDS = 120


class Contender(Running):
    """Something that answers chat completions. `with` starts and stops it.

    `url` takes the calls, with one of `headers` each; both are known once it runs.
    """

    name: ClassVar[str]
    #: What it does with a call, for the reader of the figures.
    about: ClassVar[str]
    url: str
    headers: list[dict[str, str]]

    def __init__(self, simulator_url: str, scratch: Path) -> None:
        self.simulator_url = simulator_url
        self.scratch = scratch

    @staticmethod
    def install(console: Console) -> None:
        """Fetch it, where it is not there. Raises CalledProcessError or OSError."""

    @abstractmethod
    def cpu_seconds(self) -> Mapping[str, float]:
        """User and system time so far of all its processes, by part."""

    @abstractmethod
    def processes(self) -> list[psutil.Process]:
        """All that run now."""

    def violations(self, answered: int) -> list[str]:
        """What is wrong with what it kept of its answered calls."""
        return []


class Direct(Contender):
    """The simulator itself: what the others are measured against."""

    name = "direct"
    about = "the provider alone"

    def start(self) -> None:
        self.url, self.headers = f"{self.simulator_url}/v1/chat/completions", [{}]

    def stop(self) -> None:
        pass

    def cpu_seconds(self) -> Mapping[str, float]:
        return {}

    def processes(self) -> list[psutil.Process]:
        return []


class Program(Contender):
    """A gateway that is one command, whose processes are all its children."""

    #: Answers when the program takes calls.
    ready_path: ClassVar[str]

    def start(self) -> None:
        (self.port,) = free_ports(1)
        self._log_file = self.scratch / f"{self.name}.out"
        with self._log_file.open("wb") as output:
            self._process = psutil.Popen(
                tied_to_parent(self.command()),
                cwd=self.scratch,
                env={**os.environ, **self.environment()},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.url = f"http://127.0.0.1:{self.port}/v1/chat/completions"
        self.headers = [self.request_headers()]
        self._wait_until_ready()

    @abstractmethod
    def command(self) -> list[str]:
        """What starts it on `self.port` before `self.simulator_url`."""

    def environment(self) -> Mapping[str, str]:
        return {}

    def request_headers(self) -> dict[str, str]:
        return {}

    def stop(self) -> None:
        end_processes(self.processes(), grace_seconds=10)
        self._process.wait()

    def cpu_seconds(self) -> Mapping[str, float]:
        # With the time of children that have ended.
        return {"proxy": sum(sum(member.cpu_times()[:4]) for member in self.processes())}

    def log_files(self) -> Mapping[str, Path]:
        return {self.name: self._log_file}

    def processes(self) -> list[psutil.Process]:
        return family(self._process)

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + _READY_SECONDS
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} did not start:\n{self.log_tail()}")
            time.sleep(0.2)

    def _is_ready(self) -> bool:
        url = f"http://127.0.0.1:{self.port}{self.ready_path}"
        try:
            return httpx.get(url, timeout=5).is_success
        except httpx.HTTPError:
            return False


def family(process: psutil.Process) -> list[psutil.Process]:
    """The process and all below it."""
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return [process]


def memory_bytes(processes: Iterable[psutil.Process]) -> int:
    """Of all together; what several share counts once."""
    total = 0
    for process in processes:
        try:
            total += process.memory_full_info().pss
        except psutil.NoSuchProcess:
            continue
    return total


def difference(after: Mapping[str, float], before: Mapping[str, float]) -> dict[str, float]:
    """What each part used in between."""
    used = Counter(after)
    used.subtract(before)
    return dict(used)
