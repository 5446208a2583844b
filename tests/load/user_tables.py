"""`make bench ARGS="tables"`: a table of 100,000 rows and 20 fields over REST, as the grid uses it;
a file of as many rows; and an AI field that fills them while somebody else asks questions."""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from aily.launcher.programs import BASE_DIR
from tests.load import machine, report
from tests.load.goals import Figures, Goal, verdicts
from tests.load.installation import MODELS_KNOWN_SECONDS, Installation, Upstream
from tests.load.measure import Groups, percentile, summed
from tests.load.scenarios.scenario import count
from tests.load.table_import import TableImport
from tests.load.table_run import MIN_GOAL_ANSWERS, TableRun

SUMMARY = "a table of 100,000 rows: fill, update, open, scroll, filter, import, run an AI field"
#: What Baserow's documentation and code promise beside aily's bounds, of which it publishes most.
LIMITS = (
    ("rows of a page", 500, 200),
    ("rows of a batch", 1_000, 200),
    ("fields of a table", 200, 600),
    ("runs of AI fields at once: of a user, of all", 20, 3),
)
PAGE_ROWS, LARGE_PAGE_ROWS, BATCH_ROWS = 100, 500, 1_000
GOALS = (
    Goal("open a view of 100,000 rows ≤ 0.5 s", "open_p50_seconds", 0.5),
    Goal("any page of 100 rows of it ≤ 50 ms", "scroll_p50_seconds", 0.05),
    Goal("any page of 500 rows of it ≤ 50 ms", "scroll_500_p50_seconds", 0.05),
    Goal("update 1,000 rows ≤ 1 s", "update_p50_seconds", 1.0),
    Goal("import of 100,000 rows × 20 columns ≤ 30 s", "import_seconds", 30.0),
    Goal("its preview ≤ 2 s", "import_preview_seconds", 2.0),
    Goal("web grows by ≤ 100 MB meanwhile", "import_web_growth_bytes", 1e8),
    Goal("workers grow by ≤ 100 MB each meanwhile", "import_worker_growth_bytes", 2e8),
)
RUN_GOALS = (
    Goal("a run of an AI field: 150 rows/s", "run_rows_per_second", 150, at_least=True),
    Goal("a run is there in ≤ 1 s", "run_start_seconds", 1.0),
    Goal("another user's p99 meanwhile ≤ 1.1 × idle", "other_user_p99_ratio", 1.1),
)
_GOAL_ROWS = 100_000
_KINDS = ("text",) * 8 + ("integer",) * 4 + ("number",) * 4 + ("boolean", "date", "datetime")
_WORDS = [
    "parcel",
    "letter",
    "invoice",
    "late",
    "broken",
    "lost",
    "thanks",
    "answer",
    "price",
    "again",
]
_PARTS = ("web", "postgres", "valkey", "worker", "scheduler")

#: Figures of a part of the load, by the beginning of their names.
Timed = dict[str, float | None]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Of `make bench ARGS="tables"`."""
    parser.add_argument("--rows", type=int, default=_GOAL_ROWS)
    parser.add_argument("--turns", type=count, default=50, help="requests of each kind")
    parser.add_argument("--answers", type=int, default=10_000, help="rows that an AI field fills")
    parser.add_argument("--cap", type=count, default=120, help="calls of the model at once")
    parser.add_argument("--idle", type=float, default=30, help="seconds of idle to compare with")
    parser.add_argument("--workers", type=count, default=2, help="worker processes")
    parser.add_argument("--json", type=Path, help="file for the result (var/bench/...)")


def run(console: Console, options: argparse.Namespace) -> dict[str, Any]:
    """Start an installation, load it, stop it. Returns a document like a scenario's."""
    upstream = Upstream(0.5, 0.1, tokens=20, chunks=4)
    environment = {"WORKER_PROCESSES": str(options.workers)}
    with Installation(BASE_DIR / "var" / "bench", upstream, environment) as installation:
        key, other_key = installation.seed(2, options.cap)
        time.sleep(MODELS_KNOWN_SECONDS)
        headers = {"Authorization": f"Bearer {key}"}
        with httpx.Client(base_url=installation.base_url, headers=headers, timeout=120) as client:
            load = _Load(client, installation.groups(), options.rows, options.turns)
            load.run()
            load.import_file(installation.data_dir / "rows.csv")
            if options.answers:
                answers = TableRun(client, load.table, load.text_key, installation, upstream)
                rows = min(options.answers, options.rows)
                load.figures |= answers.run_beside(other_key, rows, options.idle)
                load.wrong += answers.wrong
    goals: tuple[Goal, ...] = GOALS if options.rows >= _GOAL_ROWS else ()
    if options.answers >= MIN_GOAL_ANSWERS:
        goals += RUN_GOALS
    return {
        "scenario": "tables",
        "options": {name: getattr(options, name) for name in ("rows", "turns", "answers", "cap")},
        "machine": machine.describe(),
        "figures": load.figures,
        "goals": verdicts(goals, load.figures),
        "limits": [dict(zip(("limit", "aily", "baserow"), row, strict=True)) for row in LIMITS],
        "violations": load.wrong,
        "violations_first": [],
        "warnings": [],
    }


def show(console: Console, document: dict[str, Any]) -> None:
    console.print(SUMMARY)
    console.print(report.figures_table(document))
    console.print(report.goals_table(document))
    table = Table("limit", "aily", "Baserow")
    for row in document["limits"]:
        table.add_row(row["limit"], f"{row['aily']:,}", f"{row['baserow']:,}")
    console.print(table)


class _Load:
    """The requests of one run, and what they took."""

    def __init__(self, client: httpx.Client, groups: Groups, rows: int, turns: int) -> None:
        self.figures: Figures = {}
        self.wrong = 0
        self._client = client
        self._groups = groups
        self._rows = rows
        self._turns = turns
        self._random = random.Random(7)
        fields = [{"name": f"F{n}", "kind": kind} for n, kind in enumerate(_KINDS)]
        state = {"name": "State", "kind": "select", "options": {"choices": ["Open", "Shut"]}}
        body = {"name": "Bench", "fields": [*fields, state]}
        made = client.post("/api/tables", json=body).raise_for_status().json()
        self._table = f"/api/tables/{made['id']}"
        self._keys = [field["key"] for field in made["fields"]]
        self.table: str = self._table
        self.text_key: str = self._keys[0]
        self._ids: list[int] = []

    def run(self) -> None:
        batches = -(-self._rows // BATCH_ROWS)
        self._timed("create", batches, self._create)
        self._timed("update", self._turns, self._update)
        self._timed("upsert", self._turns, self._upsert)
        self._timed("open", self._turns, self._open)
        self._timed("scroll", self._turns, lambda _: self._read_page(PAGE_ROWS))
        self._timed("scroll_500", self._turns, lambda _: self._read_page(LARGE_PAGE_ROWS))
        self._timed("filter", self._turns, self._filter)

    def _timed(self, name: str, turns: int, send: Callable[[int], None]) -> None:
        """Send requests one after the other: seconds of one, and CPU of the installation."""
        took: list[float] = []
        before = self._groups.cpu_seconds()
        for turn in range(turns):
            began = time.perf_counter()
            send(turn)
            took.append(time.perf_counter() - began)
        after = self._groups.cpu_seconds()
        spent = {part: after[part] - before[part] for part in _PARTS}
        self.figures |= {
            f"{name}_p50_seconds": percentile(took, 0.5),
            f"{name}_p99_seconds": percentile(took, 0.99),
            f"{name}_cpu_ms_per_request": summed(spent, *_PARTS) * 1000 / turns,
            f"{name}_postgres_cpu_ms_per_request": spent["postgres"] * 1000 / turns,
        }

    # --- Writing --------------------------------------------------------------------------------
    def _values(self, number: int) -> dict[str, Any]:
        text = [" ".join(self._random.choices(_WORDS, k=4)) for _ in range(8)]
        text[0] = f"key {number}"
        integers = [self._random.randrange(100_000) for _ in range(4)]
        numbers = [round(self._random.random() * 1000, 2) for _ in range(4)]
        rest = [number % 2 == 0, "2026-01-31", "2026-01-31T12:00:00Z", 1 + number % 2]
        return dict(zip(self._keys, [*text, *integers, *numbers, *rest], strict=True))

    def _batch(self, operations: list[dict[str, Any]], **more: Any) -> list[dict[str, Any]]:
        body = {"operations": operations, **more}
        answer = self._client.post(f"{self._table}/rows:batch", json=body).raise_for_status()
        results: list[dict[str, Any]] = answer.json()["results"]
        return results

    def _create(self, turn: int) -> None:
        numbers = range(turn * BATCH_ROWS, min((turn + 1) * BATCH_ROWS, self._rows))
        created = self._batch([{"op": "create", "values": self._values(n)} for n in numbers])
        self._ids += [result["id"] for result in created]

    def _update(self, turn: int) -> None:
        key = self._keys[8]
        ids = self._random.sample(self._ids, min(BATCH_ROWS, len(self._ids)))
        operations = [{"op": "update", "id": row, "values": {key: -turn - 1}} for row in ids]
        self.wrong += sum(result["status"] != "updated" for result in self._batch(operations))

    def _upsert(self, turn: int) -> None:
        numbers = self._random.sample(range(self._rows), min(100, self._rows))
        keys = self._keys
        operations = [
            {"op": "upsert", "values": {keys[0]: f"key {n}", keys[9]: -turn - 1}} for n in numbers
        ]
        self.wrong += sum(
            result["status"] != "updated" for result in self._batch(operations, key=keys[0])
        )

    def import_file(self, file: Path) -> None:
        """The same rows as a file, which becomes a table of its own."""
        numbers = range(self._rows)
        rows = ([*self._values(n).values()] for n in numbers)
        load = TableImport(self._client, self._groups)
        self.figures |= load.run(file, [f"F{n}" for n in range(len(self._keys))], rows)
        self.wrong += load.wrong

    # --- Reading --------------------------------------------------------------------------------
    def _open(self, turn: int) -> None:
        """A view in another order each time, with its first page."""
        sorts = [{"field": self._keys[8 + turn % 8], "desc": turn % 2 == 0}]
        body = {"sorts": sorts, "n": PAGE_ROWS}
        opened = self._client.post(f"{self._table}:open", json=body).raise_for_status().json()
        self._snapshot = opened["id"]
        self.wrong += opened["count"] != self._rows

    def _read_page(self, rows: int) -> None:
        """Any place of the snapshot."""
        place = self._random.randrange(max(self._rows - rows, 1))
        path = f"/api/tables/snapshots/{self._snapshot}/rows"
        answer = self._client.get(path, params={"from": place, "n": rows}).raise_for_status()
        self.wrong += len(answer.json()["items"]) != min(rows, self._rows)

    def _filter(self, turn: int) -> None:
        """Two conditions and an order, without an index."""
        keys = self._keys
        tree = {
            "and": [
                {"field": keys[9], "op": "gt", "value": 50_000},
                {"field": keys[1], "op": "contains", "value": "parcel"},
            ]
        }
        body = {"filter": tree, "sorts": [{"field": keys[12]}], "limit": PAGE_ROWS}
        found = self._client.post(f"{self._table}/rows:query", json=body).raise_for_status().json()
        self.wrong += not found["items"]
