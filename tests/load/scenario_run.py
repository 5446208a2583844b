"""One run of one scenario, from the start of an installation to its document."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as ProgressBar

from aily.launcher.programs import BASE_DIR
from tests.load import machine, report
from tests.load.installation import Installation
from tests.load.recording import Progress
from tests.load.run import Watcher, measure
from tests.load.scenarios import SCENARIOS

BENCH_DIR = BASE_DIR / "var" / "bench"
#: Options that do not change what a goal speaks of.
_FREE_OPTIONS = ("json",)
_PRINT_SECONDS = 5.0


def run_scenario(
    console: Console, options: argparse.Namespace, defaults: argparse.Namespace
) -> dict[str, Any]:
    """Start, load, judge and stop. `defaults` are what the scenario's goals speak of."""
    scenario = SCENARIOS[options.scenario](options)
    environment = {
        "WEB_PROCESSES": str(options.web),
        "WORKER_PROCESSES": str(options.workers),
        "WEB_SERVER": options.server,
        **scenario.environment(),
    }
    console.print(f"{options.scenario}: starting an installation of its own …")
    with (
        tempfile.TemporaryDirectory(prefix="aily-bench-") as scratch,
        Installation(BENCH_DIR, scenario.upstream(), environment) as installation,
    ):
        with _watching(console) as watch:
            run = measure(scenario, installation, watch, Path(scratch))
        asked = {**vars(options), "sockets": run.connected.sockets}
        document = report.build(
            scenario,
            {key: value for key, value in asked.items() if key not in ("scenario", "json")},
            machine.describe(),
            run,
            at_goal_size=_same(options, defaults),
        )
        if document["violations"]:
            console.print(installation.log_tail())
    return document


def _same(options: argparse.Namespace, defaults: argparse.Namespace) -> bool:
    asked, normal = dict(vars(options)), dict(vars(defaults))
    for name in _FREE_OPTIONS:
        asked.pop(name, None)
        normal.pop(name, None)
    return asked == normal


@contextmanager
def _watching(console: Console) -> Iterator[Watcher]:
    """Bars on a terminal; elsewhere a line for each phase, and one every few seconds."""
    if not console.is_terminal:
        last_phase, last_at = "", 0.0

        def print_progress(progress: Progress) -> None:
            nonlocal last_phase, last_at
            if progress.phase != last_phase or time.monotonic() > last_at + _PRINT_SECONDS:
                last_phase, last_at = progress.phase, time.monotonic()
                console.print(f"  {_line(progress)}")

        yield print_progress
        return
    columns = (TextColumn("{task.description:<12}"), BarColumn(), MofNCompleteColumn())
    with ProgressBar(*columns, TimeElapsedColumn(), console=console, transient=True) as bars:
        names = ("connected", "accepted", "in flight", "ended")
        ids = {name: bars.add_task(name, total=None) for name in names}

        def show(progress: Progress) -> None:
            values = (progress.connected, progress.accepted, _in_flight(progress), progress.ended)
            for name, value in zip(names, values, strict=True):
                total = None if name == "connected" else max(progress.submitted, 1)
                bars.update(ids[name], completed=value, total=total)

        yield show


def _in_flight(progress: Progress) -> int:
    return progress.submitted - progress.ended


def _line(progress: Progress) -> str:
    if progress.phase in ("connecting", "ready"):
        return f"{progress.phase}: {progress.connected} sockets, {progress.refused} refused"
    return (
        f"{progress.phase}: {progress.submitted} submitted, {progress.accepted} accepted, "
        f"{_in_flight(progress)} in flight, {progress.ended} ended"
    )
