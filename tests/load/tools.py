"""Loops of three fast tool calls beside the same number of plain tasks: CPU a task, and a step."""

from __future__ import annotations

import argparse
import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from aiohttp import web
from rich.console import Console

from aily.launcher.programs import BASE_DIR
from tests.load import machine, report
from tests.load.goals import Goal, verdicts
from tests.load.installation import MODELS_KNOWN_SECONDS, Installation, Upstream
from tests.load.measure import PeakMemory, measured
from tests.load.recording import MODEL
from tests.load.scenarios.scenario import count
from tests.ports import free_ports

SUMMARY = "loops of three tool calls, one after another, and plain tasks beside them"
SCENE = "bench-tools"
STEPS = 3
GOALS = (Goal("a step adds at most 3 x the CPU of a plain task", "step_to_plain_ratio", 3.0),)
_PATIENCE_SECONDS = 900.0
_POLL_SECONDS = 0.25
#: Single submits under way at once.
_SUBMITTERS = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Of `make bench ARGS="tools"`."""
    parser.add_argument("--tasks", type=count, default=1_000)
    parser.add_argument("--cap", type=count, default=500)
    parser.add_argument("--seconds", type=float, default=0.2, help="length of an answer")
    parser.add_argument("--workers", type=count, default=1, help="worker processes")
    parser.add_argument("--json", type=Path, help="file for the result (var/bench/...)")


def run(console: Console, options: argparse.Namespace) -> dict[str, Any]:
    """Start an installation, load it twice, stop it. Returns a document like a scenario's."""
    upstream = Upstream(options.seconds, options.seconds / 5, tokens=20, chunks=4)
    environment = {"WORKER_PROCESSES": str(options.workers), "PROVIDER_ALLOW_PRIVATE": "true"}
    with (
        running_service() as service,
        Installation(BASE_DIR / "var" / "bench", upstream, environment) as installation,
    ):
        [key] = installation.seed(1, options.cap)
        installation.seed_tools(service.url)
        time.sleep(MODELS_KNOWN_SECONDS)
        headers = {"Authorization": f"Bearer {key}"}
        with httpx.Client(base_url=installation.base_url, headers=headers, timeout=120) as client:
            groups = installation.groups()
            with PeakMemory(groups) as memory:
                plain, lost = measured(
                    groups, options.tasks, lambda: _load(client, options.tasks, _plain)
                )
                loops, wrong = measured(
                    groups, options.tasks, lambda: _load(client, options.tasks, _loop)
                )
    figures = _figures(plain, loops, options.tasks, memory.peak_bytes.get("worker"))
    console.print("plain tasks:", plain)
    console.print("loops:", loops)
    return {
        "scenario": "tools",
        "options": {"tasks": options.tasks, "cap": options.cap, "seconds": options.seconds},
        "machine": machine.describe(),
        "seconds": round(loops["seconds"], 3),
        "cpu_ms_per_task": loops["parts"],
        "figures": figures,
        "goals": verdicts(GOALS, figures),
        "violations": wrong + lost,
        "violations_first": [],
        "warnings": [],
    }


def _figures(
    plain: dict[str, Any], loops: dict[str, Any], tasks: int, worker_rss_bytes: int | None
) -> dict[str, float | None]:
    step = (loops["cpu_ms"] - plain["cpu_ms"]) / STEPS
    return {
        "plain_cpu_ms_per_task": plain["cpu_ms"],
        "loop_cpu_ms_per_task": loops["cpu_ms"],
        "step_cpu_ms": step,
        "step_to_plain_ratio": step / plain["cpu_ms"],
        "throughput_loops_per_second": tasks / loops["seconds"],
        "worker_rss_bytes": worker_rss_bytes,
    }


def show(console: Console, document: dict[str, Any]) -> None:
    console.print(SUMMARY)
    console.print(report.figures_table(document))


@dataclass
class ToolService:
    """Tools on a thread of this process: those of `/slow` answer once they are released."""

    url: str
    #: Calls of `/slow` that wait.
    at_once: int = 0
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    _released: asyncio.Event = field(default_factory=asyncio.Event)
    _over: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, request: web.Request) -> web.Response:
        arguments = await request.json()
        if request.path == "/slow":
            self.at_once += 1
            await self._released.wait()
            self.at_once -= 1
        return web.json_response({"done": arguments})

    def release(self) -> None:
        self._loop.call_soon_threadsafe(self._released.set)

    def stop(self) -> None:
        self.release()
        self._loop.call_soon_threadsafe(self._over.set)

    def run(self, port: int, ready: threading.Event) -> None:
        self._loop.run_until_complete(self._serve(port, ready))

    async def _serve(self, port: int, ready: threading.Event) -> None:
        application = web.Application()
        application.router.add_post("/{name}", self.answer)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        ready.set()
        await self._over.wait()
        await runner.cleanup()


@contextmanager
def running_service() -> Iterator[ToolService]:
    [port] = free_ports(1)
    service, ready = ToolService(f"http://127.0.0.1:{port}"), threading.Event()
    thread = threading.Thread(target=service.run, args=(port, ready), daemon=True)
    thread.start()
    ready.wait()
    try:
        yield service
    finally:
        service.stop()
        thread.join()


def _plain(number: int) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": f"Plain {number}"}]}


def _loop(number: int) -> dict[str, Any]:
    plan = "; ".join(f'fast {{"n": {number * STEPS + step}}}' for step in range(STEPS))
    return {"scene": SCENE, "variables": {"text": f"[sim:tools={plan}]"}}


def _load(client: httpx.Client, tasks: int, body_of: Callable[[int], dict[str, Any]]) -> int:
    """Submit tasks and wait for their ends. Returns how many have no answer."""

    def submit(number: int) -> str:
        body = {**body_of(number), "lane": "batch"}
        accepted = client.post("/api/llmchat/request", json=body, params={"sync": "false"})
        task_id: str = accepted.raise_for_status().json()["task_id"]
        return task_id

    def is_right(task_id: str) -> bool:
        task = client.get(f"/api/llmchat/tasks/{task_id}").json()
        calls = [call["state"] for call in task["tool_calls"]]
        return task["status"] == "succeeded" and calls in ([], ["succeeded"] * STEPS)

    with ThreadPoolExecutor(_SUBMITTERS) as pool:
        task_ids = list(pool.map(submit, range(tasks)))
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while client.get("/api/llmchat/tasks?active=true&limit=1").json()["count"]:
            if time.monotonic() > deadline:
                return tasks
            time.sleep(_POLL_SECONDS)
        return tasks - sum(pool.map(is_right, task_ids))
