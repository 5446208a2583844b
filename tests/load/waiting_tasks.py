"""Interactive tasks of others while thousands wait for their users and for slow tools."""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
from rich.console import Console

from aily.launcher.programs import BASE_DIR
from tests.load import machine, report
from tests.load.goals import Goal, verdicts
from tests.load.installation import MODELS_KNOWN_SECONDS, Installation, Upstream
from tests.load.measure import percentile
from tests.load.recording import MODEL
from tests.load.scenarios.scenario import count
from tests.load.tools import SCENE, ToolService, running_service

SUMMARY = "2,000 tasks that wait for approval or for a slow tool, beside interactive ones"
GOALS = (
    Goal("interactive p99 is as without those that wait", "p99_waiting_to_idle_ratio", 1.25),
    Goal("a task that waits costs at most 100 KiB", "worker_kib_per_waiting_task", 100.0),
    Goal("no slot of the model is in use", "model_slots_in_use", 0.0),
    Goal("no thread more than a pool's", "worker_threads_more", 16.0),
)
_PATIENCE_SECONDS = 240.0
_LOOK_SECONDS = 0.5
#: Until what was submitted together has been settled, and memory is given back.
_CALM_SECONDS = 10.0
_SUBMITTERS = 20
#: Callers at once, each of which sends its next request with the answer to the one before.
_CALLERS = 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Of `make bench ARGS="waiting"`."""
    parser.add_argument("--waiting", type=count, default=2_000, help="half for each kind")
    parser.add_argument("--requests", type=count, default=800, help="interactive, each time")
    parser.add_argument("--seconds", type=float, default=0.1, help="length of an answer")
    parser.add_argument("--json", type=Path, help="file for the result (var/bench/...)")


def run(console: Console, options: argparse.Namespace) -> dict[str, Any]:
    """Measure an installation idle, while tasks wait, and idle again. Returns a document."""
    upstream = Upstream(options.seconds, options.seconds / 2, tokens=20, chunks=4)
    environment = {"WORKER_PROCESSES": "1", "PROVIDER_ALLOW_PRIVATE": "true"}
    with (
        running_service() as service,
        Installation(BASE_DIR / "var" / "bench", upstream, environment) as installation,
    ):
        key, other = installation.seed(2, 100)
        installation.seed_tools(service.url)
        time.sleep(MODELS_KNOWN_SECONDS)
        run = _Run(installation, service, options)
        with run.client(key) as waiting, run.client(other) as interactive:
            figures = run.measure(console, waiting, interactive)
    return {
        "scenario": "waiting",
        "options": {"waiting": options.waiting, "requests": options.requests},
        "machine": machine.describe(),
        "seconds": round(figures.pop("seconds"), 3),
        "cpu_ms_per_task": {},
        "figures": figures,
        "goals": verdicts(GOALS, figures),
        "violations": int(figures["wrong_answers"]),
        "violations_first": [],
        "warnings": [],
    }


def show(console: Console, document: dict[str, Any]) -> None:
    console.print(SUMMARY)
    console.print(report.figures_table(document))


class _Run:
    def __init__(
        self, installation: Installation, service: ToolService, options: argparse.Namespace
    ) -> None:
        self._installation = installation
        self._service = service
        self._options = options
        self._wrong = 0

    def client(self, key: str) -> httpx.Client:
        headers = {"Authorization": f"Bearer {key}"}
        return httpx.Client(base_url=self._installation.base_url, headers=headers, timeout=120)

    def measure(
        self, console: Console, waiting: httpx.Client, interactive: httpx.Client
    ) -> dict[str, Any]:
        began, half = time.monotonic(), self._options.waiting // 2
        self._latencies(interactive)  # connections, caches
        idle = self._latencies(interactive)
        before = self._worker()
        self._submit(waiting, half)
        self._wait_for(waiting, half)
        time.sleep(_CALM_SECONDS)
        slots = self._slots_in_use()
        while_waiting, after = self._latencies(interactive), self._worker()
        console.print("worker before, and while tasks wait:", before, after)
        self._service.release()
        self._wait_for(waiting, half, slow=0)
        time.sleep(_CALM_SECONDS)
        again = self._latencies(interactive)
        p99 = [percentile(found, 0.99) or 0.0 for found in (idle, while_waiting, again)]
        p50 = [percentile(found, 0.5) or 0.0 for found in (idle, while_waiting, again)]
        return {
            "seconds": time.monotonic() - began,
            "idle_p50_ms": p50[0],
            "waiting_p50_ms": p50[1],
            "afterwards_p50_ms": p50[2],
            "idle_p99_ms": p99[0],
            "waiting_p99_ms": p99[1],
            "afterwards_p99_ms": p99[2],
            "p99_waiting_to_idle_ratio": p99[1] / p99[0],
            "worker_kib_per_waiting_task": (after[0] - before[0]) / 1024 / (2 * half),
            "worker_threads_more": float(after[1] - before[1]),
            "tool_calls_at_once": float(half),
            "model_slots_in_use": slots,
            "wrong_answers": float(self._wrong),
        }

    def _latencies(self, client: httpx.Client) -> list[float]:
        """Milliseconds from a request to its answer."""

        def ask(number: int) -> float:
            messages = [{"role": "user", "content": f"Question {number}"}]
            body = {"model": MODEL, "messages": messages, "lane": "interactive"}
            began = time.perf_counter()
            answer = client.post("/api/llmchat/request", json=body, params={"sync": "true"})
            milliseconds = (time.perf_counter() - began) * 1000
            self._wrong += answer.json().get("status") != "succeeded"
            return milliseconds

        with ThreadPoolExecutor(_CALLERS) as pool:
            return list(pool.map(ask, range(self._options.requests)))

    def _submit(self, client: httpx.Client, half: int) -> None:
        def submit(number: int) -> None:
            name = "ask" if number < half else "slow"
            variables = {"text": f'[sim:tools={name} {{"n": {number}}}]'}
            body = {"scene": SCENE, "variables": variables, "lane": "batch"}
            accepted = client.post("/api/llmchat/request", json=body, params={"sync": "false"})
            accepted.raise_for_status()

        with ThreadPoolExecutor(_SUBMITTERS) as pool:
            list(pool.map(submit, range(2 * half)))

    def _wait_for(self, client: httpx.Client, half: int, slow: int | None = None) -> None:
        """Return once half of the tasks wait for approval, and as many for the slow tool."""
        deadline, slow = time.monotonic() + _PATIENCE_SECONDS, half if slow is None else slow

        def tasks(status: str) -> int:
            path = f"/api/llmchat/tasks?status={status}&limit=1"
            found: int = client.get(path).raise_for_status().json()["count"]
            return found

        while (tasks("requires_action"), self._service.at_once) != (half, slow):
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self._service.at_once} calls of the slow tool are made")
            time.sleep(_LOOK_SECONDS)

    def _worker(self) -> tuple[int, int]:
        """Resident bytes and threads of the worker."""
        found = [
            process
            for process in self._installation.launcher.children(recursive=True)
            if "dramatiq" in " ".join(process.cmdline())
        ]
        return (
            sum(process.memory_info().rss for process in found),
            sum(_threads(process) for process in found),
        )

    def _slots_in_use(self) -> float:
        lines = httpx.get(self._installation.metrics_url).text.splitlines()
        values = [line.split()[-1] for line in lines if line.startswith("aily_leases_in_use{")]
        return sum(float(value) for value in values)


def _threads(process: psutil.Process) -> int:
    return int(process.num_threads())
