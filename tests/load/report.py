"""The result of a run: as a table for people, as JSON for comparing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from tests.load.measure import percentile
from tests.load.run import Measured
from tests.load.scenarios.scenario import Figures

PARTS = (*("web", "worker", "postgres", "valkey", "scheduler", "other", "simulator", "generator"),)
#: From here on a process with one event loop is its own queue.
_BUSY_SHARE = 0.8
_LATE_SECONDS = 0.05
_FOREIGN_SHARE = 0.1
_VIOLATIONS_SHOWN = 10


def build(
    scenario: str,
    options: dict[str, Any],
    machine: dict[str, object],
    measured: Measured,
    figures: Figures,
    violations: list[str],
) -> dict[str, Any]:
    """The JSON document. Times in seconds, memory in bytes, CPU in milliseconds a task."""
    recording = measured.recording
    tasks = max(len(recording.tasks), 1)
    sockets = options["sockets"]
    cpu_ms = {part: round(measured.cpu_seconds.get(part, 0.0) * 1000 / tasks, 3) for part in PARTS}
    lag = percentile(recording.timer_lags_seconds, 0.99)
    return {
        "scenario": scenario,
        "options": options,
        "machine": machine,
        "seconds": round(measured.seconds, 3),
        "cpu_ms_per_task": cpu_ms,
        "cpu_ms_per_task_web_and_worker": round(cpu_ms["web"] + cpu_ms["worker"], 3),
        "idle_cpu_ms_per_second": {
            part: round(measured.idle_cpu_share.get(part, 0.0) * 1000, 1) for part in PARTS
        },
        "peak_rss_bytes": measured.peak_rss_bytes,
        "connect": {
            "web_cpu_ms_per_socket": round(
                measured.connect_cpu_seconds.get("web", 0.0) * 1000 / sockets, 3
            ),
            "web_rss_bytes_per_socket": measured.connect_rss_bytes // sockets,
        },
        "figures": {
            name: value if value is None else round(value, 4) for name, value in figures.items()
        },
        "generator_timer_lag_p99_seconds": lag,
        "violations": len(violations),
        "violations_first": violations[:_VIOLATIONS_SHOWN],
        "warnings": _warnings(measured, machine, lag),
    }


def _warnings(measured: Measured, machine: dict[str, object], lag: float | None) -> list[str]:
    """What makes the latencies of this run say less than they seem to."""
    found = []
    share = measured.cpu_seconds.get("generator", 0.0) / measured.seconds
    if share > _BUSY_SHARE:
        found.append(f"the load generator was the bottleneck: it used {share:.0%} of a core")
    if lag is not None and lag > _LATE_SECONDS:
        found.append(
            f"the load generator woke up {lag * 1000:.0f} ms late (p99); latencies include that"
        )
    capacity = measured.seconds * int(str(machine["cores"]))
    if measured.machine_cpu_seconds > 0.95 * capacity:
        found.append("the machine had no idle CPU left; latencies are those of an overload")
    foreign = measured.machine_cpu_seconds - sum(measured.cpu_seconds.values())
    if foreign > _FOREIGN_SHARE * capacity:
        found.append(f"other programs took {foreign / capacity:.0%} of the machine")
    return found


def show(console: Console, document: dict[str, Any]) -> None:
    """The tables."""
    machine = document["machine"]
    console.print(
        f"{document['scenario']}  {machine['date']}  {machine['cpu']}, {machine['cores']} cores, "
        f"Python {machine['python']}, {machine['commit']}"
    )
    console.print(_parts_table(document))
    console.print(_figures_table(document))
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
    table.add_section()
    both = sum(document["peak_rss_bytes"].get(part, 0) for part in ("web", "worker")) / 2**20
    total = document["cpu_ms_per_task_web_and_worker"]
    table.add_row("web + worker", f"{total:.2f}", "", f"{both:.0f}", style="bold")
    return table


def _figures_table(document: dict[str, Any]) -> Table:
    table = Table("figure", "value")
    table.columns[1].justify = "right"
    connect = document["connect"]
    table.add_row("sockets", str(document["options"]["sockets"]))
    table.add_row("web CPU a connect", f"{connect['web_cpu_ms_per_socket']:.2f} ms")
    table.add_row("web memory a socket", f"{connect['web_rss_bytes_per_socket'] / 1024:.0f} KiB")
    for name, value in document["figures"].items():
        table.add_row(*_readable(name, value))
    return table


def _readable(name: str, value: float | None) -> tuple[str, str]:
    if value is None:
        return name, "-"
    if name.endswith("per_second"):
        return name.removesuffix("_per_second").replace("_", " "), f"{value:.0f} /s"
    if name.endswith("_seconds"):
        return name.removesuffix("_seconds").replace("_", " "), f"{value * 1000:.0f} ms"
    return name.replace("_", " "), f"{value:g}"


def save(document: dict[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")
