"""The result of a run: as tables for people, as JSON for comparing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from tests.load.goals import Figures, verdicts
from tests.load.measure import percentile, summed
from tests.load.result import Run
from tests.load.scenarios.scenario import Scenario

PARTS = (*("web", "worker", "postgres", "valkey", "scheduler", "other", "simulator", "generator"),)
#: From here on a process with one event loop is its own queue.
_BUSY_SHARE = 0.8
_LATE_SECONDS = 0.05
_FOREIGN_SHARE = 0.1
_VIOLATIONS_SHOWN = 10

_VERDICT_STYLES = {"hit": "green", "missed": "red", "not measured": "dim"}


def build(
    scenario: Scenario,
    options: dict[str, Any],
    machine: dict[str, object],
    run: Run,
    *,
    at_goal_size: bool,
) -> dict[str, Any]:
    """The JSON document. Times in seconds, memory in bytes, CPU in milliseconds a task."""
    tasks = max(len(run.tasks), 1)
    cpu_ms = {part: round(run.cpu_seconds.get(part, 0.0) * 1000 / tasks, 3) for part in PARTS}
    violations = scenario.violations(run)
    figures = _common_figures(run) | scenario.figures(run)
    lag = percentile([lag for wave in run.waves for lag in wave.recording.timer_lags_seconds], 0.99)
    return {
        "scenario": scenario.name,
        "options": options,
        "machine": machine,
        "seconds": round(run.seconds, 3),
        "cpu_ms_per_task": cpu_ms,
        "idle_cpu_ms_per_second": {
            part: round(run.idle_cpu_share.get(part, 0.0) * 1000, 1) for part in PARTS
        },
        "peak_rss_bytes": run.peak_rss_bytes,
        "figures": {
            name: value if value is None else round(value, 4) for name, value in figures.items()
        },
        "at_goal_size": at_goal_size,
        "goals": verdicts(scenario.goals if at_goal_size else (), figures),
        "generator_timer_lag_p99_seconds": lag,
        "generator_cpu_share": round(run.cpu_seconds.get("generator", 0.0) / run.seconds, 3),
        "simulator_cpu_share": round(run.cpu_seconds.get("simulator", 0.0) / run.seconds, 3),
        "violations": len(violations),
        "violations_first": violations[:_VIOLATIONS_SHOWN],
        "warnings": _warnings(run, machine, lag),
    }


def _common_figures(run: Run) -> Figures:
    """What every scenario shows."""
    tasks = max(len(run.tasks), 1)
    return {
        "web_and_worker_cpu_ms_per_task": summed(run.cpu_seconds, "web", "worker") * 1000 / tasks,
        "web_and_worker_rss_bytes": summed(run.peak_rss_bytes, "web", "worker"),
    }


def _warnings(run: Run, machine: dict[str, object], lag: float | None) -> list[str]:
    """What makes the latencies of this run say less than they seem to."""
    found = []
    for part in ("generator", "simulator"):
        # The busiest wave counts, as an average over all of them hides it.
        share = max(wave.cpu_seconds.get(part, 0.0) / wave.recording.seconds for wave in run.waves)
        if share > _BUSY_SHARE:
            found.append(f"the {part} was a bottleneck: it used {share:.0%} of a core")
    if lag is not None and lag > _LATE_SECONDS:
        found.append(
            f"the load generator woke up {lag * 1000:.0f} ms late (p99); latencies include that"
        )
    capacity = run.seconds * int(str(machine["cores"]))
    busy = sum(wave.machine_cpu_seconds for wave in run.waves)
    if busy > 0.95 * capacity:
        found.append("the machine had no idle CPU left; latencies are those of an overload")
    foreign = busy - sum(run.cpu_seconds.values())
    if foreign > _FOREIGN_SHARE * capacity:
        found.append(f"other programs took {foreign / capacity:.0%} of the machine")
    return found


def show(console: Console, document: dict[str, Any]) -> None:
    """The tables."""
    machine = document["machine"]
    console.print(
        f"{document['scenario']}  {machine['date']}  {machine['cpu']}, {machine['cores']} cores, "
        f"Python {machine['python']}, {document['options']['server']}, {machine['commit']}"
    )
    console.print(_parts_table(document))
    console.print(figures_table(document))
    if document["goals"]:
        console.print(goals_table(document))
    for warning in document["warnings"]:
        console.print(f"warning: {warning}", style="yellow")
    for line in document["violations_first"]:
        console.print(f"WRONG: {line[:300]}", style="red")
    if document["violations"]:
        console.print(f"{document['violations']} things are wrong", style="bold red")
    else:
        console.print("nothing lost, doubled, out of order or wrong", style="green")


def _parts_table(document: dict[str, Any]) -> Table:
    table = Table("part", "CPU ms a task", "idle CPU ms a second", "peak RSS MiB")
    for column in table.columns[1:]:
        column.justify = "right"
    for part in PARTS:
        peak = document["peak_rss_bytes"].get(part, 0) / 2**20
        idle = document["idle_cpu_ms_per_second"][part]
        table.add_row(
            part, f"{document['cpu_ms_per_task'][part]:.2f}", f"{idle:.1f}", f"{peak:.0f}"
        )
    return table


def figures_table(document: dict[str, Any]) -> Table:
    """Every figure by its name."""
    table = Table("figure", "value")
    table.columns[1].justify = "right"
    for name, value in document["figures"].items():
        table.add_row(*readable(name, value))
    return table


def goals_table(document: dict[str, Any]) -> Table:
    table = Table("goal", "measured", "")
    for goal in document["goals"]:
        _, value = readable(goal["figure"], goal["value"])
        table.add_row(goal["goal"], value, goal["verdict"], style=_VERDICT_STYLES[goal["verdict"]])
    return table


#: The ends of names, the unit to show, and by how much to multiply. The first that fits counts.
_UNITS = (
    ("_ms_per_task", " ms", 1.0, 2),
    ("_ms_per_socket", " ms", 1.0, 2),
    ("_ms_per_delta", " ms", 1.0, 3),
    ("_cpu_ms_per_second_per_1000_sockets", " ms a second and 1,000 sockets", 1.0, 1),
    ("_bytes_per_socket", " KiB", 1 / 1024, 1),
    ("_per_second", " /s", 1.0, 0),
    ("_seconds", " ms", 1000.0, 0),
    ("_bytes", " MiB", 2.0**-20, 0),
    ("_share", " %", 100.0, 1),
)


def readable(name: str, value: float | None) -> tuple[str, str]:
    """A figure's name and value for people."""
    for end, unit, factor, digits in _UNITS:
        if name.endswith(end):
            shown = "-" if value is None else f"{value * factor:,.{digits}f}{unit}"
            return name.removesuffix(end).replace("_", " "), shown
    return name.replace("_", " "), "-" if value is None else f"{value:,g}"


def save(document: dict[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")
