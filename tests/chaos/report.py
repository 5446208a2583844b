"""The result of a chaos run: as a table for people, as JSON for comparing."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from tests.chaos.proof import Evidence
from tests.chaos.strikes import Strike
from tests.chaos.users import PatientUser
from tests.journal import most_at_once


def build(
    options: dict[str, Any],
    strikes: Sequence[Strike],
    users: Sequence[PatientUser],
    evidence: Evidence,
    bounced: dict[str, int],
    problems: Sequence[str],
) -> dict[str, Any]:
    """The JSON document. Times in seconds."""
    rows = evidence.stored.values()
    calls = evidence.upstream.calls
    return {
        "options": options,
        "strikes": [msgspec.to_builtins(strike) for strike in strikes],
        "tasks": dict(Counter(row.status for row in rows)),
        "attempts": {str(n): count for n, count in Counter(row.attempt for row in rows).items()},
        "attempts_total": sum(row.attempt for row in rows),
        "crashes": sum(row.crashes for row in rows),
        "upstream_calls": len(calls),
        "upstream_calls_completed": sum(call.completed for call in calls),
        "calls_at_once_max": most_at_once(calls),
        "cap": evidence.cap,
        "zombie_calls": len(evidence.zombie_calls),
        "bounced": bounced,
        "reconnects": sum(user.reconnects for user in users),
        "refused_and_asked_again": sum(user.refused for user in users),
        "problems": list(problems),
    }


def show(console: Console, document: dict[str, Any]) -> None:
    table = Table("harm", "times", "back after, median", "longest", "bound")
    for column in table.columns[1:]:
        column.justify = "right"
    by_harm: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for strike in document["strikes"]:
        for harm in strike["harms"]:
            by_harm[harm].append(strike)
    for harm, strikes in sorted(by_harm.items()):
        times = [strike["back_seconds"] for strike in strikes]
        known = sorted(seconds for seconds in times if seconds is not None)
        median = f"{known[len(known) // 2]:.1f} s" if known else "-"
        longest = "NOT BACK" if None in times else f"{known[-1]:.1f} s"
        bound = max(strike["bound_seconds"] for strike in strikes)
        table.add_row(harm, str(len(strikes)), median, longest, f"{bound:.0f} s")
    console.print(table)
    for name, value in document.items():
        if name not in ("strikes", "problems", "options"):
            console.print(f"{name.replace('_', ' ')}: {value}")
    for problem in document["problems"]:
        console.print(problem, style="red")
    count = len(document["problems"])
    console.print(
        f"{count} problems" if count else "nothing lost, nothing doubled, all back in time"
    )


def save(document: dict[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")
