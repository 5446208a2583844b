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

PATIENCE_SECONDS = 30


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
    """The first scrape that fulfils the condition: tallies and gauges are a second late."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                text = await asyncio.to_thread(scrape, stack)
            except ConnectionError:  # not started yet
                text = ""
            if condition(text):
                return text
            await asyncio.sleep(0.2)


async def test_what_a_task_leaves_behind(
    stack: Stack, socket: ChatSocket, rest: RestClient
) -> None:
    before = await until(stack, lambda text: total(text, "aily_up") == 2)
    assert (await rest.get("/api/llmchat/no-such-path")).status == 404
    good = await socket.submit("Count me [sim:latency=0,tokens=64,tps=0]")
    bad = await rest.submit("Refuse me [sim:error=400]")
    usage = (await socket.ended(good)).logged[-1]["usage"]
    await rest.follow(bad)

    def grown(text: str, name: str, **labels: str) -> float:
        return total(text, name, **labels) - total(before, name, **labels)

    settled = "aily_task_duration_seconds_count"
    after = await until(
        stack,
        lambda text: (
            grown(text, settled, status="succeeded") == 1
            and grown(text, settled, status="failed") == 1
            and grown(text, "aily_websocket_frames_sent_total") >= 3
        ),
    )
    spent = usage["completion_tokens"]
    assert spent >= 64
    assert grown(after, "aily_tasks_submitted_total", lane="interactive") == 1
    assert grown(after, "aily_task_queue_duration_seconds_count") == 2
    assert grown(after, "gen_ai_client_operation_duration_seconds_count", error_type="") == 1
    assert grown(after, "aily_provider_errors_total", code="provider_bad_request") == 1
    assert grown(after, "gen_ai_client_operation_time_to_first_chunk_seconds_count") == 1
    assert grown(after, "gen_ai_client_token_usage_sum", gen_ai_token_type="output") == spent
    assert grown(after, "aily_tokens_total", type="completion") == spent
    assert grown(after, "aily_request_errors_total", transport="rest", code="not_found") == 1
    assert grown(after, "aily_websocket_frames_received_total", type="task.submit") == 1
    route = "api/llmchat/request"
    assert grown(after, "aily_http_request_duration_seconds_count", method="POST", route=route) == 1
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
