"""A run of many rows beside the same number of single submits: rows a second, and CPU a row."""

from __future__ import annotations

import argparse
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console

from aily.launcher.programs import BASE_DIR
from tests.load import machine, report
from tests.load.installation import MODELS_KNOWN_SECONDS, Installation, Upstream
from tests.load.measure import PeakMemory, measured
from tests.load.recording import MODEL
from tests.load.scenarios.scenario import count

SUMMARY = "a run of N rows, and N single submits over REST beside it"
_RUNS = "/api/llmchat/runs"
_TASKS = "/api/llmchat/request"
_PATIENCE_SECONDS = 1_800.0
_POLL_SECONDS = 0.25
#: Single submits under way at once.
_SUBMITTERS = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Of `make bench ARGS="runs"`."""
    parser.add_argument("--rows", type=count, default=3_000)
    parser.add_argument("--cap", type=count, default=500)
    parser.add_argument("--seconds", type=float, default=0.5, help="length of an answer")
    parser.add_argument("--workers", type=count, default=2, help="worker processes")
    parser.add_argument("--json", type=Path, help="file for the result (var/bench/...)")


def run(console: Console, options: argparse.Namespace) -> dict[str, Any]:
    """Start an installation, load it twice, stop it. Returns a document like a scenario's."""
    upstream = Upstream(options.seconds, options.seconds / 5, tokens=20, chunks=4)
    environment = {"WORKER_PROCESSES": str(options.workers)}
    with Installation(BASE_DIR / "var" / "bench", upstream, environment) as installation:
        [key] = installation.seed(1, options.cap)
        time.sleep(MODELS_KNOWN_SECONDS)
        headers = {"Authorization": f"Bearer {key}"}
        with httpx.Client(base_url=installation.base_url, headers=headers, timeout=120) as client:
            groups = installation.groups()
            with PeakMemory(groups) as memory:
                many, wrong = measured(groups, options.rows, lambda: _run(client, options.rows))
            single, lost = measured(groups, options.rows, lambda: _submit(client, options.rows))
    figures: dict[str, float | None] = {
        "throughput_rows_per_second": options.rows / many["seconds"],
        "rows_cpu_ms_per_task": many["cpu_ms"],
        "single_throughput_tasks_per_second": options.rows / single["seconds"],
        "single_cpu_ms_per_task": single["cpu_ms"],
        "web_rss_bytes": memory.peak_bytes.get("web"),
        "worker_rss_bytes": memory.peak_bytes.get("worker"),
    }
    console.print("a run:", many)
    console.print("single submits:", single)
    return {
        "scenario": "runs",
        "options": {"rows": options.rows, "cap": options.cap, "seconds": options.seconds},
        "machine": machine.describe(),
        "seconds": round(many["seconds"], 3),
        "cpu_ms_per_task": many["parts"],
        "figures": figures,
        "goals": [],
        "violations": wrong + lost,
        "violations_first": [],
        "warnings": [],
    }


def show(console: Console, document: dict[str, Any]) -> None:
    console.print(SUMMARY)
    console.print(report.figures_table(document))


def _run(client: httpx.Client, rows: int) -> int:
    """Upload, run to the end, read the results. Returns how many rows have no answer."""
    content = "".join(
        json.dumps({"model": MODEL, "messages": [{"role": "user", "content": f"Row {number}"}]})
        + "\n"
        for number in range(rows)
    )
    files = {"file": ("rows.jsonl", content.encode())}
    made = client.post(_RUNS, files=files, data={"start": "now"}).raise_for_status().json()
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while client.get(f"{_RUNS}/{made['id']}").json()["state"] != "done":
        if time.monotonic() > deadline:
            return rows
        time.sleep(_POLL_SECONDS)
    lines = client.get(f"{_RUNS}/{made['id']}/results").iter_lines()
    return rows - sum(bool(json.loads(line)["state"] == "succeeded") for line in lines)


def _submit(client: httpx.Client, rows: int) -> int:
    """The same rows as single submits, and their ends. Returns how many have no answer."""

    def submit(number: int) -> str:
        messages = [{"role": "user", "content": f"Single {number}"}]
        body = {"model": MODEL, "messages": messages, "lane": "batch"}
        accepted = client.post(_TASKS, json=body, params={"sync": "false"}).raise_for_status()
        task_id: str = accepted.json()["task_id"]
        return task_id

    def read(task_id: str) -> bool:
        task = client.get(f"/api/llmchat/tasks/{task_id}").json()
        return bool(task["status"] == "succeeded")

    with ThreadPoolExecutor(_SUBMITTERS) as pool:
        task_ids = list(pool.map(submit, range(rows)))
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while client.get("/api/llmchat/tasks", params={"active": "true", "limit": 1}).json()[
            "count"
        ]:
            if time.monotonic() > deadline:
                return rows
            time.sleep(_POLL_SECONDS)
        return rows - sum(pool.map(read, task_ids))
