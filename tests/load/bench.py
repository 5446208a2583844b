"""`make bench`: starts an installation of its own, loads it, checks the answers, reports.

    make bench                                    the scenario `flight` with its defaults
    make bench ARGS="flight --tasks 2000 --seconds 20 --stream"
    make bench ARGS="submit --sockets 100"

Exit code 1 when anything was lost, doubled, out of order or wrong.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as ProgressBar

from aily.programs import BASE_DIR
from tests.load import machine, report
from tests.load.installation import Installation
from tests.load.recording import Progress
from tests.load.run import Measured, Watcher, measure
from tests.load.scenarios import SCENARIOS
from tests.load.scenarios.scenario import Figures, Scenario, count

BENCH_DIR = BASE_DIR / "var" / "bench"


def parse(arguments: list[str]) -> argparse.Namespace:
    """Without a scenario's name, `flight` is meant."""
    parser = argparse.ArgumentParser(prog="tests.load.bench", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    scenarios = parser.add_subparsers(dest="scenario", required=True)
    for name, scenario in SCENARIOS.items():
        own = scenarios.add_parser(name, help=scenario.summary, description=scenario.summary)
        scenario.add_arguments(own)
        own.add_argument("--web", type=count, default=2, help="web processes")
        own.add_argument("--workers", type=count, default=2, help="worker processes")
        own.add_argument("--json", type=Path, help="file for the result (var/bench/...)")
    is_named = bool(arguments) and (arguments[0] in SCENARIOS or arguments[0] in {"-h", "--help"})
    return parser.parse_args(arguments if is_named else ["flight", *arguments])


@contextmanager
def _watching(console: Console, tasks: int) -> Iterator[Watcher]:
    """Bars on a terminal, a line a phase elsewhere."""
    if not console.is_terminal:
        last = ""

        def tell(progress: Progress) -> None:
            nonlocal last
            if progress.phase != last:
                last = progress.phase
                console.print(f"  {progress.phase}")

        yield tell
        return
    columns = (TextColumn("{task.description:<9}"), BarColumn(), MofNCompleteColumn())
    with ProgressBar(*columns, TimeElapsedColumn(), console=console, transient=True) as bars:
        names = ("submitted", "accepted", "ended")
        ids = {name: bars.add_task(name, total=tasks) for name in names}

        def show(progress: Progress) -> None:
            for name, bar in ids.items():
                bars.update(bar, completed=getattr(progress, name))

        yield show


def _run(scenario: Scenario, console: Console) -> tuple[Measured, Figures, list[str]]:
    options = scenario.options
    environment = {"WEB_PROCESSES": str(options.web), "WORKER_PROCESSES": str(options.workers)}
    console.print("starting an installation of its own …")
    with (
        tempfile.TemporaryDirectory(prefix="aily-bench-") as scratch,
        Installation(BENCH_DIR, scenario.upstream(), environment) as installation,
    ):
        with _watching(console, options.tasks) as watch:
            measured = measure(scenario, installation, watch, Path(scratch))
        stored = installation.stored_tasks()
        violations = scenario.violations(measured.recording, stored)
        if violations:
            console.print(installation.log_tail())
        return measured, scenario.figures(measured.recording, stored), violations


def main() -> int:
    """Exit code: 0 when everything was right."""
    options = parse(sys.argv[1:])
    console = Console(highlight=False, soft_wrap=True)
    scenario = SCENARIOS[options.scenario](options)
    measured, figures, violations = _run(scenario, console)
    asked: dict[str, Any] = {**vars(options), "sockets": scenario.users}
    del asked["scenario"], asked["json"]
    document = report.build(
        options.scenario, asked, machine.describe(), measured, figures, violations
    )
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    path = options.json or BENCH_DIR / f"{options.scenario}-{stamp}.json"
    report.save(document, path)
    report.show(console, document)
    console.print(f"written to {path}")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
