"""Everything that the README's figures come from, in one go: `make bench ARGS="all --runs 3"`.

The result is a JSON document: what was run, each run's figures, their medians, and which goals
they hit. README and plot are made from it (tests/load/publish.py).
"""

from __future__ import annotations

import argparse
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from aily.environment.launcher import WEB_SERVERS
from tests.load import machine, report
from tests.load.goals import Figures, verdicts
from tests.load.scenarios import SCENARIOS

#: The results in the repository.
RESULTS_FILE = Path(__file__).with_name("results.json")

#: Runs one scenario by its command line, and gives its document.
Runner = Callable[[list[str]], dict[str, Any]]


@dataclass(frozen=True)
class Entry:
    """One line of the plan. `once` is not repeated: it compares, or takes long."""

    title: str
    arguments: list[str]
    once: bool = False
    #: Whether the scenario's goals speak of a run with these arguments.
    is_goal: bool = False
    small: list[str] = field(default_factory=list)

    @property
    def scenario(self) -> str:
        return self.arguments[0]


PLAN = (
    Entry("one task at a time", ["idle"], is_goal=True, small=["--tasks", "5"]),
    Entry("10,000 tasks in flight", ["flight"], is_goal=True, small=["--tasks", "200"]),
    Entry("open loop, answers of 2 s", ["rate"], is_goal=True, small=["--stop", "100"]),
    Entry("500 streams of 10 deltas a second", ["relay"], is_goal=True, small=["--tasks", "50"]),
    Entry("5,000 idle sockets", ["sockets"], is_goal=True, small=["--sockets", "200"]),
    Entry("submits over WebSockets", ["submit"], small=["--tasks", "300"]),
    Entry("submits over HTTP", ["submit_http"], is_goal=True, small=["--tasks", "300"]),
    Entry(
        "cap 500, 10,000 queued",
        ["lease", "--cap", "500", "--tasks", "10000", "--seconds", "4"],
        once=True,
        is_goal=True,
        small=["--cap", "10", "--tasks", "100"],
    ),
    *(
        Entry(
            f"2,000 in flight behind {server}",
            ["flight", "--tasks", "2000", "--seconds", "10", "--server", server],
            once=True,
            small=["--tasks", "200"],
        )
        for server in WEB_SERVERS
    ),
)


def run_suite(console: Console, options: argparse.Namespace, run: Runner) -> dict[str, Any]:
    """All of the plan, `options.runs` times. No run begins after `options.minutes`."""
    deadline = time.monotonic() + options.minutes * 60
    documents: dict[str, list[dict[str, Any]]] = {entry.title: [] for entry in PLAN}
    failures: dict[str, list[str]] = {entry.title: [] for entry in PLAN}
    skipped = 0
    for number in range(options.runs):
        for entry in PLAN:
            if entry.once and number:
                continue
            if time.monotonic() > deadline:
                skipped += 1
                continue
            console.rule(f"{entry.title} ({number + 1} of {1 if entry.once else options.runs})")
            arguments = [*entry.arguments, *(entry.small if options.small else ())]
            try:
                documents[entry.title].append(run(arguments))
            except (RuntimeError, OSError, subprocess.SubprocessError, httpx.HTTPError) as error:
                # The others are worth having all the same.
                failures[entry.title].append(repr(error))
                console.print(f"failed: {error!r}", style="red")
    if skipped:
        console.print(f"{skipped} runs were left out: {options.minutes} minutes were over")
    return {
        "machine": machine.describe(),
        "is_small": options.small,
        "runs": options.runs,
        "entries": [
            _entry(entry, found, failures[entry.title], is_small=options.small)
            for entry in PLAN
            if (found := documents[entry.title]) or failures[entry.title]
        ],
    }


def _entry(
    entry: Entry, documents: list[dict[str, Any]], failures: list[str], *, is_small: bool
) -> dict[str, Any]:
    figures = medians([_figures(document) for document in documents])
    goals = SCENARIOS[entry.scenario].goals if entry.is_goal and not is_small else ()
    return {
        "title": entry.title,
        "scenario": entry.scenario,
        "arguments": entry.arguments,
        "runs": len(documents),
        "figures": figures,
        "cpu_ms_per_task": medians([document["cpu_ms_per_task"] for document in documents]),
        "goals": verdicts(goals, figures),
        "violations": sum(document["violations"] for document in documents) + len(failures),
        "failures": failures,
        "warnings": sorted({line for document in documents for line in document["warnings"]}),
        "each": [_figures(document) for document in documents],
    }


def _figures(document: dict[str, Any]) -> Figures:
    figures: Figures = document["figures"]
    return figures


def medians(runs: list[Figures]) -> Figures:
    """Of each figure over the runs that have it."""
    names = dict.fromkeys(name for run in runs for name in run)
    found: Figures = {}
    for name in names:
        values = [value for run in runs if (value := run.get(name)) is not None]
        found[name] = median(values) if values else None
    return found


def show(console: Console, results: dict[str, Any]) -> None:
    """The goals, and what was wrong."""
    table = Table("goal", "median", "")
    for entry in results["entries"]:
        for goal in entry["goals"]:
            _, value = report.readable(goal["figure"], goal["value"])
            table.add_row(goal["goal"], value, goal["verdict"])
    console.print(table)
    for entry in results["entries"]:
        if entry["violations"]:
            console.print(f"{entry['title']}: {entry['violations']} things are wrong", style="red")
