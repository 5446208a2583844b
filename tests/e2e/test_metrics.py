"""One scrape of the exporter shows what all processes did."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import urllib.request
from collections.abc import Callable

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.client import ChatSocket, RestClient
from tests.stack import Stack
from tests.waiting import eventually

PATIENCE_SECONDS = 30
#: Of no other test: what those leave behind comes to be counted in the midst of this one.
MODEL = "metered"
CALLS = "gen_ai_client_operation"
#: Names of series, what they have grown by, and their labels.
Counted = tuple[tuple[str, float, dict[str, str]], ...]


def scrape(stack: Stack) -> str:
    with urllib.request.urlopen(stack.metrics_url, timeout=10) as response:  # noqa: S310
        text: str = response.read().decode()
    return text


def total(text: str, name: str, **labels: str) -> float:
    """The sum of the series of that name that have these labels."""
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


async def until(stack: Stack, condition: Callable[[str], bool]) -> str:
    """The first scrape that fulfils the condition: each process writes once a second."""

    async def scraped() -> str:
        try:
            text = await asyncio.to_thread(scrape, stack)
        except ConnectionError:  # not started yet
            text = ""
        return text if condition(text) else ""

    return await eventually(scraped, "the scrape", PATIENCE_SECONDS)


async def test_what_a_task_leaves_behind(
    stack: Stack, socket: ChatSocket, rest: RestClient
) -> None:
    before = await until(stack, lambda text: total(text, "aily_up") == 2)
    assert (await rest.get("/api/llmchat/no-such-path")).status == 404
    good = await socket.submit("Count me [sim:latency=0,tokens=64,tps=0]", model=MODEL)
    bad = await rest.submit("Refuse me [sim:error=400]", model=MODEL)
    usage = (await socket.ended(good)).logged[-1]["usage"]
    await rest.follow(bad)

    def grown(text: str, name: str, **labels: str) -> float:
        return total(text, name, **labels) - total(before, name, **labels)

    settled = "aily_task_duration_seconds_count"
    spent = usage["completion_tokens"]
    assert spent >= 64
    counted: Counted = (
        (settled, 1, {"model": MODEL, "status": "succeeded"}),
        (settled, 1, {"model": MODEL, "status": "failed"}),
        ("aily_tasks_submitted_total", 1, {"model": MODEL, "lane": "interactive"}),
        ("aily_task_queue_duration_seconds_count", 2, {"model": MODEL}),
        ("aily_provider_errors_total", 1, {"model": MODEL, "code": "provider_bad_request"}),
        ("aily_tokens_total", spent, {"model": MODEL, "type": "completion"}),
        (f"{CALLS}_duration_seconds_count", 1, {"gen_ai_request_model": MODEL, "error_type": ""}),
        (f"{CALLS}_time_to_first_chunk_seconds_count", 1, {"gen_ai_request_model": MODEL}),
        (
            "gen_ai_client_token_usage_sum",
            spent,
            {"gen_ai_request_model": MODEL, "gen_ai_token_type": "output"},
        ),
    )
    seen: tuple[tuple[str, dict[str, str]], ...] = (
        ("aily_request_errors_total", {"transport": "rest", "code": "not_found"}),
        ("aily_websocket_frames_received_total", {"type": "task.submit"}),
        (
            "aily_http_request_duration_seconds_count",
            {"method": "POST", "route": "api/llmchat/request"},
        ),
    )
    after = await until(
        stack,
        lambda text: (
            all(grown(text, name, **labels) >= expected for name, expected, labels in counted)
            and all(grown(text, name, **labels) >= 1 for name, labels in seen)
            and grown(text, "aily_websocket_frames_sent_total") >= 3
        ),
    )
    for name, expected, labels in counted:
        assert grown(after, name, **labels) == expected, (name, labels)
    assert total(after, "aily_websockets_open") >= 1
    assert total(after, "aily_worker_calls_capacity") == 5000
    for process in ("web", "worker", "scheduler"):
        assert total(after, "aily_process_memory_bytes", process=process) > 1e6


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool (Debian: prometheus)")
async def test_promtool_has_nothing_to_say(stack: Stack) -> None:
    text = await until(stack, lambda text: total(text, "aily_up") == 2)
    check = ["promtool", "check", "metrics"]
    result = await asyncio.to_thread(
        subprocess.run, check, input=text.encode(), capture_output=True, check=False
    )
    assert (result.returncode, result.stdout + result.stderr) == (0, b"")
