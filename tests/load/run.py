"""One measured run: sockets up, counters read, load, counters read again."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
import psutil

from aily.processes import tied_to_parent
from aily.programs import BASE_DIR
from tests.load.installation import MODELS_KNOWN_SECONDS, Installation
from tests.load.measure import Groups, PeakMemory, busy_cpu_seconds
from tests.load.recording import Load, Progress, Recording
from tests.load.scenarios.scenario import Scenario

#: What is told of the generator's progress while it runs.
Watcher = Callable[[Progress], None]


@dataclass(frozen=True)
class Measured:
    """What a run cost. CPU in seconds by part; `machine_cpu_seconds` is everybody's."""

    recording: Recording
    seconds: float
    cpu_seconds: dict[str, float]
    machine_cpu_seconds: float
    peak_rss_bytes: dict[str, int]
    #: CPU seconds a second by part, with all sockets open and nothing to do.
    idle_cpu_share: dict[str, float]
    connect_cpu_seconds: dict[str, float]
    #: What the web processes grew by while the sockets were opened.
    connect_rss_bytes: int


class GeneratorProcess:
    """The load generator; `with` ends it, whatever happened."""

    def __init__(self, load: Load, recording_file: Path, watch: Watcher) -> None:
        self._recording_file = recording_file
        self._watch = watch
        self._process = psutil.Popen(
            tied_to_parent([sys.executable, "-m", "tests.load.generator", str(recording_file)]),
            cwd=BASE_DIR,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._tell(msgspec.json.encode(load).decode())

    @property
    def process(self) -> psutil.Process:
        return self._process

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()

    def _tell(self, line: str) -> None:
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def go(self) -> None:
        """Start submitting."""
        self._tell("go")

    def wait_for(self, phase: str) -> None:
        """Return once the generator is there. Raises RuntimeError when it died before."""
        for line in self._process.stdout:
            progress = msgspec.json.decode(line, type=Progress)
            self._watch(progress)
            if progress.phase == phase:
                return
        raise RuntimeError("the load generator ended early; its error is above")

    def recording(self) -> Recording:
        self.wait_for("written")
        return msgspec.msgpack.decode(self._recording_file.read_bytes(), type=Recording)


def measure(
    scenario: Scenario, installation: Installation, watch: Watcher, scratch: Path
) -> Measured:
    """Seed, connect and run. CPU counts from the first submit to the last end."""
    keys = installation.seed(scenario.users, scenario.cap)
    models_known_at = time.monotonic() + MODELS_KNOWN_SECONDS
    groups = installation.groups()
    idle_cpu, idle_rss = groups.cpu_seconds(), groups.rss_bytes()
    load = scenario.load(installation.socket_url, keys)
    with GeneratorProcess(load, scratch / "recording", watch) as generator:
        generator.wait_for("ready")
        connect_cpu = _difference(groups, idle_cpu)
        connect_rss = groups.rss_bytes()["web"] - idle_rss["web"]
        groups.generator = generator.process
        idle_share = _idle_share(groups, models_known_at - time.monotonic())
        before, machine_before = groups.cpu_seconds(), busy_cpu_seconds()
        with PeakMemory(groups) as memory:
            generator.go()
            generator.wait_for("ended")
            cpu_seconds = _difference(groups, before)
            machine_cpu_seconds = busy_cpu_seconds() - machine_before
        recording = generator.recording()
    return Measured(
        recording=recording,
        seconds=recording.ended_at - recording.started_at,
        cpu_seconds=cpu_seconds,
        machine_cpu_seconds=machine_cpu_seconds,
        peak_rss_bytes=memory.peak_bytes,
        idle_cpu_share=idle_share,
        connect_cpu_seconds=connect_cpu,
        connect_rss_bytes=connect_rss,
    )


def _idle_share(groups: Groups, seconds: float) -> dict[str, float]:
    """CPU seconds a second by part while nothing is asked for, over `seconds` or two."""
    seconds = max(seconds, 2.0)
    before = groups.cpu_seconds()
    time.sleep(seconds)
    return {part: used / seconds for part, used in _difference(groups, before).items()}


def _difference(groups: Groups, before: dict[str, float]) -> dict[str, float]:
    after = groups.cpu_seconds()
    return {part: seconds - before.get(part, 0.0) for part, seconds in after.items()}
