"""LiteLLM's proxy before the same simulator, to set aily's cost beside something known.

It does not do the same job: it passes a request on while its caller waits, and stores, queues and
pushes nothing. It is installed on demand, into an environment of its own under var/.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
from rich.console import Console

from aily.launcher.programs import BASE_DIR
from aily.process.lifetimes import end_processes, tied_to_parent
from tests.load import machine, report
from tests.load.installation import Upstream
from tests.load.measure import percentile
from tests.load.recording import MODEL
from tests.load.scenarios.scenario import count
from tests.ports import free_ports

SUMMARY = "LiteLLM's proxy before the same simulator, for comparison"
_VENV = BASE_DIR / "var" / "bench" / "litellm"
_READY_SECONDS = 120
_WARM_UP_TASKS = 10
#: Prices from its package, not from the network.
_ENVIRONMENT = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_MASTER_KEY": f"sk-{secrets.token_hex(32)}",
}
_CONFIG = """\
model_list:
  - model_name: {model}
    litellm_params: {{model: "openai/{model}", api_base: "{url}", api_key: "none"}}
litellm_settings: {{num_retries: 0, request_timeout: 600}}
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """As those of `flight`, at a size that it bears."""
    parser.add_argument("--tasks", type=count, default=300)
    parser.add_argument("--seconds", type=float, default=5.0, help="length of an answer")
    # With more, its supervisor kills those that a busy machine lets answer too late.
    parser.add_argument("--workers", type=count, default=1, help="its processes")
    parser.add_argument("--json", type=Path, help="file for the result (var/bench/...)")


def run(console: Console, options: argparse.Namespace) -> dict[str, Any]:
    """Install, start, load and stop it. Returns a document like a scenario's."""
    _install(console)
    upstream = Upstream(options.seconds, options.seconds / 5, tokens=100, chunks=10)
    simulator_port, port = free_ports(2)
    simulator = ["-m", "aily.simulator", "--port", str(simulator_port), *upstream.arguments()]
    with (
        tempfile.TemporaryDirectory(prefix="aily-litellm-") as scratch,
        _process([sys.executable, *simulator], Path(scratch) / "simulator.out"),
        _proxy(Path(scratch), simulator_port, port, options.workers) as proxy,
    ):
        # The first requests import modules and open connections.
        _load(port, _WARM_UP_TASKS, 1.0)
        before = _cpu_seconds(proxy)
        started_at = time.monotonic()
        answer = _load(port, options.tasks, options.seconds / 2)
        seconds = time.monotonic() - started_at
        cpu_ms = (_cpu_seconds(proxy) - before) * 1000 / options.tasks
        rss = sum(process.memory_info().rss for process in _family(proxy))
    overheads = [seconds - options.seconds for seconds in answer["seconds"]]
    return {
        "scenario": "litellm",
        "options": {"tasks": options.tasks, "seconds": options.seconds},
        "machine": {**machine.describe(), "litellm": _version()},
        "seconds": round(seconds, 3),
        "cpu_ms_per_task": {"proxy": round(cpu_ms, 3)},
        "figures": {
            "proxy_cpu_ms_per_task": round(cpu_ms, 3),
            "proxy_rss_bytes": rss,
            "overhead_p50_seconds": percentile(overheads, 0.5),
            "overhead_p99_seconds": percentile(overheads, 0.99),
            "errors": len(answer["errors"]),
        },
        "goals": [],
        "violations": 0,
        "violations_first": answer["errors"][:5],
        "warnings": [],
    }


def show(console: Console, document: dict[str, Any]) -> None:
    """The figures, and the first errors."""
    console.print(f"LiteLLM {document['machine']['litellm']}: {SUMMARY}")
    console.print(report.figures_table(document))
    for line in document["violations_first"]:
        console.print(f"error: {line}", style="yellow")


def _install(console: Console) -> None:
    if (_VENV / "bin" / "litellm").exists():
        return
    console.print("installing LiteLLM's proxy (once, about a minute) …")
    venv.create(_VENV, with_pip=True)
    pip = [str(_VENV / "bin" / "python"), "-m", "pip", "install", "-qq"]
    subprocess.run([*pip, "--disable-pip-version-check", "litellm[proxy]"], check=True)


def _version() -> str:
    code = "import importlib.metadata as m; print(m.version('litellm'))"
    command = [str(_VENV / "bin" / "python"), "-c", code]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@contextmanager
def _process(command: list[str], log_file: Path) -> Iterator[psutil.Popen]:
    with log_file.open("wb") as output:
        process = psutil.Popen(
            tied_to_parent(command),
            cwd=BASE_DIR,
            env={**os.environ, **_ENVIRONMENT},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        end_processes(_family(process), grace_seconds=10)
        process.wait()


@contextmanager
def _proxy(scratch: Path, simulator_port: int, port: int, workers: int) -> Iterator[psutil.Popen]:
    config = scratch / "config.yaml"
    url = f"http://127.0.0.1:{simulator_port}/v1"
    config.write_text(_CONFIG.format(model=MODEL, url=url))
    command = [
        *(str(_VENV / "bin" / "litellm"), "--config", str(config), "--host", "127.0.0.1"),
        *("--port", str(port), "--num_workers", str(workers), "--telemetry", "False"),
    ]
    log_file = scratch / "litellm.out"
    with _process(command, log_file) as process:
        deadline = time.monotonic() + _READY_SECONDS
        while not _is_alive(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"LiteLLM did not start: {log_file.read_text()[-2000:]}")
            time.sleep(0.5)
        yield process


def _is_alive(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health/liveliness", timeout=5).is_success
    except httpx.HTTPError:
        return False


def _load(port: int, tasks: int, ramp_seconds: float) -> dict[str, Any]:
    arguments = [f"http://127.0.0.1:{port}/v1", str(tasks), str(ramp_seconds)]
    result = subprocess.run(
        [sys.executable, "-m", "tests.load.http_load", *arguments],
        cwd=BASE_DIR,
        env={**os.environ, **_ENVIRONMENT},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def _family(process: psutil.Process) -> list[psutil.Process]:
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return [process]


def _cpu_seconds(process: psutil.Process) -> float:
    return sum(sum(member.cpu_times()[:2]) for member in _family(process))
