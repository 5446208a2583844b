"""One measured run: sockets up, counters read, waves of load, counters read again."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import httpx
import msgspec
import psutil

from aily.launcher.programs import BASE_DIR
from aily.process.lifetimes import tied_to_parent
from tests.load.installation import MODELS_KNOWN_SECONDS, Installation
from tests.load.measure import Groups, PeakMemory, busy_cpu_seconds
from tests.load.recording import Progress, Recording, Target, Wave
from tests.load.result import Connected, Run, WaveResult
from tests.load.scenarios.scenario import Scenario

#: What is told of the generator's progress while it runs.
Watcher = Callable[[Progress], None]

_IDLE_SECONDS = 3.0


class GeneratorProcess:
    """The load generator; `with` ends it, whatever happened."""

    def __init__(self, target: Target, recording_file: Path, watch: Watcher) -> None:
        self._recording_file = recording_file
        self._watch = watch
        self._process = psutil.Popen(
            tied_to_parent([sys.executable, "-m", "tests.load.generator", str(recording_file)]),
            cwd=BASE_DIR,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._waves = 0
        self._write_line(msgspec.json.encode(target).decode())

    @property
    def process(self) -> psutil.Process:
        return self._process

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        if kind is not None:
            self._process.kill()
        self._process.wait()
        self._process.stdout.close()

    def _write_line(self, line: str) -> None:
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def send(self, wave: Wave) -> None:
        """Have it sent; the phases `ended` and `written` follow."""
        self._waves += 1
        self._write_line(msgspec.json.encode(wave).decode())

    def wait_for(self, phase: str) -> Progress:
        """Return once the generator is there. Raises RuntimeError when it died before."""
        for line in self._process.stdout:
            progress = msgspec.json.decode(line, type=Progress)
            self._watch(progress)
            if progress.phase == phase:
                return progress
        raise RuntimeError("the load generator ended early; its error is above")

    def recording(self) -> Recording:
        """Of the last wave."""
        self.wait_for("written")
        file = Path(f"{self._recording_file}-{self._waves - 1}")
        return msgspec.msgpack.decode(file.read_bytes(), type=Recording)


def measure(scenario: Scenario, installation: Installation, watch: Watcher, scratch: Path) -> Run:
    """Seed, connect and run all waves."""
    keys = installation.seed(scenario.users, scenario.cap)
    models_known_at = time.monotonic() + MODELS_KNOWN_SECONDS
    groups = installation.groups()
    idle_before = _idle_share(groups, _IDLE_SECONDS)
    cpu_before, rss_before = groups.cpu_seconds(), groups.rss_bytes()
    started_at = time.monotonic()
    target = Target(installation.base_url, keys, sockets=scenario.over_sockets)
    with GeneratorProcess(target, scratch / "recording", watch) as generator:
        ready = generator.wait_for("ready")
        connected = Connected(
            sockets=len(keys) if target.sockets else 0,
            refused=ready.refused,
            seconds=time.monotonic() - started_at,
            cpu_seconds=_difference(groups, cpu_before),
            rss_bytes=groups.rss_bytes()["web"] - rss_before["web"],
        )
        groups.generator = generator.process
        idle_share = _idle_share(groups, max(models_known_at - time.monotonic(), _IDLE_SECONDS))
        waves: list[WaveResult] = []
        with PeakMemory(groups) as memory:
            while (wave := scenario.next_wave(waves)) is not None:
                waves.append(_run_wave(generator, wave, groups))
    return Run(
        waves=waves,
        stored=installation.stored_tasks(),
        simulator=simulator_stats(installation.simulator_url),
        upstream=installation.upstream_calls() if scenario.upstream().is_journaled else None,
        connected=connected,
        idle_cpu_share_before=idle_before,
        idle_cpu_share=idle_share,
        peak_rss_bytes=memory.peak_bytes,
    )


def _run_wave(generator: GeneratorProcess, wave: Wave, groups: Groups) -> WaveResult:
    before, machine_before = groups.cpu_seconds(), busy_cpu_seconds()
    generator.send(wave)
    generator.wait_for("ended")
    cpu_seconds = _difference(groups, before)
    machine_cpu_seconds = busy_cpu_seconds() - machine_before
    return WaveResult(wave, generator.recording(), cpu_seconds, machine_cpu_seconds)


def simulator_stats(url: str) -> dict[str, Any]:
    """The counters of a simulator."""
    stats: dict[str, Any] = httpx.get(f"{url}/stats", timeout=30).json()
    return stats


def _idle_share(groups: Groups, seconds: float) -> dict[str, float]:
    """CPU seconds a second by part while nothing is asked for."""
    before = groups.cpu_seconds()
    time.sleep(seconds)
    return {part: used / seconds for part, used in _difference(groups, before).items()}


def _difference(groups: Groups, before: dict[str, float]) -> dict[str, float]:
    after = groups.cpu_seconds()
    return {part: seconds - before.get(part, 0.0) for part, seconds in after.items()}
