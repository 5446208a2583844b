"""The comparison for people: on the terminal, and in the README."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from tests.load.comparison.contenders import Direct
from tests.load.comparison.rivals import LiteLLM, Portkey, SglangRouter

_ABOUT = {
    "aily": "aily: stores, queues and accounts for each call",
    **{contender.name: contender.about for contender in (Direct, Portkey, LiteLLM, SglangRouter)},
}
_COLUMNS = ("calls/s", "CPU a call", "p50 over direct", "p99 over direct", "first text over direct")


def show(console: Console, document: dict[str, Any]) -> None:
    """All rows, the goals, and what was wrong."""
    for load in dict.fromkeys(row["load"] for row in document["rows"]):
        table = Table(_title(load), *_COLUMNS, "memory", "machine busy", "CPU by part, ms")
        for row in _rows_of(document, load):
            figures = row["figures"]
            table.add_row(
                row["contender"],
                *_cells(figures),
                f"{figures['memory_bytes'] / 2**20:,.0f} MiB",
                f"{figures['busy_share']:.0%}",
                _parts(figures),
            )
        console.print(table)
    for goal in document["goals"]:
        console.print(f"{goal['goal']}: {_number(goal['value'])}, {goal['verdict']}")
    for line in document["warnings"]:
        console.print(f"warning: {line}", style="yellow")
    for line in document["violations_first"]:
        console.print(f"WRONG: {line[:300]}", style="red")


def markdown(document: dict[str, Any]) -> str:
    """The README's table."""
    machine = document["machine"]
    lines = [
        f"{machine['date'][:10]}, {machine['cpu']}, {machine['cores']} cores, {machine['commit']}, "
        f"medians of {document['options']['rounds']} rounds. " + _goals(document),
    ]
    for load in dict.fromkeys(row["load"] for row in document["rows"]):
        lines += ["", f"| {_title(load)} | {' | '.join(_COLUMNS)} |", "|---" * 6 + "|"]
        lines += [
            f"| {_ABOUT[row['contender']]} | {' | '.join(_cells(row['figures']))} |"
            for row in _rows_of(document, load)
        ]
    return "\n".join(lines)


def _goals(document: dict[str, Any]) -> str:
    return "; ".join(f"{goal['goal']}: **{goal['verdict']}**" for goal in document["goals"])


def _rows_of(document: dict[str, Any], load: str) -> list[dict[str, Any]]:
    return [row for row in document["rows"] if row["load"] == load]


def _title(load: str) -> str:
    mode, _, at_once = load.partition("_")
    return f"{'streams' if mode == 'stream' else 'plain'}, {at_once} at once"


def _cells(figures: dict[str, Any]) -> list[str]:
    return [
        f"{figures['calls_per_second']:,.0f}",
        f"{figures['cpu_ms_per_call']:.2f} ms" if figures["cpu_ms_per_call"] else "–",
        _milliseconds(figures["overhead_p50_seconds"]),
        _milliseconds(figures["overhead_p99_seconds"]),
        _milliseconds(figures["first_text_overhead_p50_seconds"]),
    ]


def _milliseconds(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds * 1000:+,.0f} ms"


def _parts(figures: dict[str, Any]) -> str:
    end = "_cpu_ms_per_call"
    parts = {name.removesuffix(end): figures[name] for name in figures if name.endswith(end)}
    return ", ".join(f"{part} {used:.2f}" for part, used in parts.items())


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"
