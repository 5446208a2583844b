"""Plain calls over HTTP that wait for their answers: CPU of each part, and time over a direct call.

    python -m tests.load.waiting_calls --at-once 50 200 --seconds 15 --path /v1/chat/completions

Starts an installation and a simulator of its own: 0.2 s to the first of 40 tokens at 200 a second.
Each caller sends its next call once it has the answer to the one before, from a process of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import aiohttp
import uvloop

from aily.launcher.programs import BASE_DIR
from tests.load.installation import MODELS_KNOWN_SECONDS, Installation, Upstream
from tests.load.measure import percentile
from tests.load.recording import MODEL

#: As in the figures of other gateways.
UPSTREAM = Upstream(seconds=0.4, latency_seconds=0.2, tokens=40, chunks=40)
#: Calls of this long at the beginning are not counted: connections, caches, the convoys' forming.
_WARM_UP_SECONDS = 3.0


@dataclass
class Calls:
    """What one process of callers is to send."""

    url: str
    key: str
    at_once: int
    seconds: float
    must_wait: bool = True


# --- The process of callers -----------------------------------------------------------------------
async def call_for(calls: Calls) -> dict[str, Any]:
    """Returns the seconds of each call that began within the time, and errors."""
    seconds: list[float] = []
    errors: list[str] = []
    ends_at = time.monotonic() + calls.seconds

    async def call_again_and_again(number: int, session: aiohttp.ClientSession) -> None:
        while (began := time.monotonic()) < ends_at:
            messages = [{"role": "user", "content": f"Hello {number} {began}"}]
            body = {"model": MODEL, "messages": messages}
            async with session.post(calls.url, json=body) as response:
                text = await response.text()
                if response.status not in (200, 202):
                    errors.append(f"{response.status}: {text[:200]}")
                    await asyncio.sleep(0.1)
                    continue
            seconds.append(time.monotonic() - began)

    headers = {"Authorization": f"Bearer {calls.key}"}
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        numbers = range(calls.at_once)
        await asyncio.gather(*(call_again_and_again(number, session) for number in numbers))
    return {"seconds": seconds, "errors": errors}


def run_callers(calls: Calls) -> dict[str, Any]:
    result = subprocess.run(
        [sys.executable, "-m", "tests.load.waiting_calls", "--callers"],
        input=json.dumps(asdict(calls)),
        cwd=BASE_DIR,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(result.stdout)
    return found


# --- Measuring ------------------------------------------------------------------------------------
@contextmanager
def _profiled(installation: Installation, part: str, file: str) -> Iterator[None]:
    """Record the stacks of one process of `part` with py-spy, which must be installed."""
    if not part:
        yield
        return
    members = installation.groups()._members()
    pid = max(
        (process for name, process in members if name == part and "tied" not in process.name()),
        key=lambda process: sum(process.cpu_times()[:2]),
    ).pid
    command = [sys.executable.replace("python", "py-spy"), "record", "--gil", "-r", "250", "-n"]
    command = [str(Path(sys.executable).parent / "py-spy"), "record", "--gil", "-r", "250"]
    with subprocess.Popen(
        [*command, "-f", "raw", "-o", file, "-d", "600", "-p", str(pid)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as profiler:
        try:
            yield
        finally:
            profiler.send_signal(2)


def _batches(installation: Installation) -> dict[str, tuple[float, float]]:
    """Items and batches so far, by the name of the batch."""
    with urllib.request.urlopen(installation.metrics_url) as response:  # noqa: S310 - of our own
        text = response.read().decode()
    found: dict[str, list[float]] = {}
    for name, kind, value in re.findall(
        r'^aily_batch_size_(sum|count){.*?batch="([^"]*)".*?} (\S+)$', text, re.MULTILINE
    ):
        found.setdefault(kind, [0.0, 0.0])[name == "count"] += float(value)
    return {kind: (items, count) for kind, (items, count) in found.items()}


def _mean_sizes(
    before: dict[str, tuple[float, float]], after: dict[str, tuple[float, float]]
) -> dict[str, float]:
    sizes = {}
    for name, (items, count) in after.items():
        earlier_items, earlier_count = before.get(name, (0.0, 0.0))
        if count > earlier_count:
            sizes[name] = round((items - earlier_items) / (count - earlier_count), 2)
    return sizes


def measure(
    installation: Installation, calls: Calls, options: argparse.Namespace
) -> dict[str, Any]:
    groups = installation.groups()
    warm_up = Calls(calls.url, calls.key, calls.at_once, _WARM_UP_SECONDS)
    run_callers(warm_up)
    batches = _batches(installation)
    with _profiled(installation, options.profile, f"{options.profile_to}.{calls.at_once}"):
        before, began = groups.cpu_seconds(), time.monotonic()
        result = run_callers(calls)
        after, seconds = groups.cpu_seconds(), time.monotonic() - began
    count = max(len(result["seconds"]), 1)
    spent = {part: (after[part] - before.get(part, 0)) * 1000 / count for part in after}
    own = {part: ms for part, ms in spent.items() if part not in ("simulator", "generator")}
    return {
        "at_once": calls.at_once,
        "calls": count,
        "errors": result["errors"][:3],
        "per_second": round(count / calls.seconds, 1),
        "seconds": round(seconds, 1),
        "p50_ms": round((percentile(result["seconds"], 0.5) or 0) * 1000, 1),
        "p99_ms": round((percentile(result["seconds"], 0.99) or 0) * 1000, 1),
        "cpu_ms": {part: round(ms, 3) for part, ms in sorted(own.items())},
        "cpu_ms_total": round(sum(own.values()), 3),
        "batch_sizes": _mean_sizes(batches, _batches(installation)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--callers", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--path", default="/api/llmchat/request?sync=true")
    parser.add_argument("--at-once", type=int, nargs="+", default=[50, 200])
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--web", default="1")
    parser.add_argument("--workers", default="2")
    parser.add_argument("--direct", action="store_true", help="measure the simulator alone, too")
    parser.add_argument("--profile", default="", help="a part: web or worker")
    parser.add_argument("--profile-to", default="var/bench/waiting_calls")
    options = parser.parse_args()
    if options.callers:
        calls = Calls(**json.load(sys.stdin))
        print(json.dumps(uvloop.run(call_for(calls))))
        return
    environment = {
        "WEB_PROCESSES": options.web,
        "WORKER_PROCESSES": options.workers,
        "MAX_TASKS_IN_FLIGHT": "0",
        "RATE_LIMIT_PER_MINUTE": "0",
        **{name: value for name, value in os.environ.items() if name.startswith("AILY_BENCH_")},
    }
    root = BASE_DIR / "var" / "bench"
    with Installation(root, UPSTREAM, environment, is_first_start=False) as installation:
        (key,) = installation.seed(1, 10_000)
        time.sleep(MODELS_KNOWN_SECONDS)
        for at_once in options.at_once:
            if options.direct:
                calls = Calls(
                    f"{installation.simulator_url}/v1/chat/completions", "x", at_once, 5.0
                )
                seconds = run_callers(calls)["seconds"]
                print("direct", at_once, [percentile(seconds, share) for share in (0.5, 0.99)])
            url = f"{installation.base_url}{options.path}"
            calls = Calls(url, key, at_once, options.seconds)
            print(json.dumps(measure(installation, calls, options)), flush=True)


if __name__ == "__main__":
    main()
