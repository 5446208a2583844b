"""Files and batches by OpenAI's own Python SDK against a running aily."""

from __future__ import annotations

import io
import json
import logging
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Literal

import httpx
import openai
import pytest
from openai import OpenAI
from openai.types import Batch

from tests.client import RestClient
from tests.clients.conftest import Installation
from tests.receiver import running_receiver
from tests.stack import Stack
from tests.waiting import until, wait_until

logger = logging.getLogger(__name__)

CHAT: Literal["/v1/chat/completions"] = "/v1/chat/completions"
MODEL = "deepseek-flash"
FAST = "[sim:latency=0.02,tokens=8,tps=0]"
MEBIBYTE = 2**20


def line(number: int, prompt: str, **body: Any) -> str:
    messages = [{"role": "user", "content": f"Line {number} {prompt}"}]
    asked = {"model": MODEL, "messages": messages, **body}
    return json.dumps({"custom_id": f"l{number}", "method": "POST", "url": CHAT, "body": asked})


def lines(count: int, prompt: str = FAST) -> Iterator[str]:
    """One in a hundred is bad."""
    for number in range(count):
        yield line(number, prompt, temperature=9) if is_bad(number) else line(number, prompt)


def is_bad(number: int) -> bool:
    return number % 100 == 50


def create(sdk: OpenAI, content: str, **fields: Any) -> Batch:
    file = sdk.files.create(file=("lines.jsonl", content.encode()), purpose="batch")
    return sdk.batches.create(
        input_file_id=file.id, endpoint=CHAT, completion_window="24h", **fields
    )


def ended(sdk: OpenAI, batch_id: str, patience: float = 60) -> Batch:
    """The batch once it has ended, however many processes die in between."""

    def look() -> Batch | None:
        try:
            batch = sdk.batches.retrieve(batch_id)
        except (openai.APIConnectionError, openai.InternalServerError):
            return None
        return batch if batch.status in ("completed", "failed", "expired", "cancelled") else None

    found = wait_until(look, "the end of the batch", patience)
    assert found is not None
    return found


def results(sdk: OpenAI, file_id: str | None) -> list[dict[str, Any]]:
    assert file_id is not None
    return [json.loads(text) for text in sdk.files.content(file_id).iter_lines()]


def require_right_files(sdk: OpenAI, batch: Batch, count: int) -> None:
    """The batch has an answer for each good line of `lines(count)`, an error for each bad one."""
    bad = [f"l{number}" for number in range(count) if is_bad(number)]
    good = [f"l{number}" for number in range(count) if not is_bad(number)]
    assert batch.status == "completed"
    assert batch.request_counts is not None
    counts = batch.request_counts
    assert (counts.total, counts.completed, counts.failed) == (count, len(good), len(bad))
    answered = results(sdk, batch.output_file_id)
    assert [entry["custom_id"] for entry in answered] == good
    assert all(entry["response"]["body"]["choices"][0]["message"]["content"] for entry in answered)
    failed = results(sdk, batch.error_file_id)
    assert [entry["custom_id"] for entry in failed] == bad
    assert {entry["response"]["status_code"] for entry in failed} == {400}
    assert {entry["response"]["body"]["error"]["param"] for entry in failed} == {"temperature"}


# --- Files --------------------------------------------------------------------------------------
def test_files_of_the_sdk(sdk: OpenAI) -> None:
    content = random.Random(17).randbytes(2 * MEBIBYTE + 3)
    file = sdk.files.create(
        file=("a.bin", io.BytesIO(content)),
        purpose="user_data",
        expires_after={"anchor": "created_at", "seconds": 3600},
    )
    assert sdk.files.wait_for_processing(file.id).status == "processed"
    assert sdk.files.content(file.id).read() == content
    assert file.id in [listed.id for listed in sdk.files.list(purpose="user_data", limit=1)]
    assert sdk.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError):
        sdk.files.retrieve(file.id)
    with pytest.raises(openai.BadRequestError) as refused:
        sdk.files.create(file=("a", b"x"), purpose="secret")
    assert refused.value.param == "purpose"


@pytest.mark.slow
def test_a_large_file_is_streamed(installation: Installation, sdk: OpenAI) -> None:
    """Much larger than other requests may be; the web processes stay as large as they were."""
    names = ("web-0", "web-1")
    before = installation.stack.memory(*names)
    content = b"x" * (64 * MEBIBYTE)
    file = sdk.files.create(file=("large.bin", content), purpose="user_data")
    assert file.bytes == len(content)
    with sdk.files.with_streaming_response.content(file.id) as answer:
        assert sum(map(len, answer.iter_bytes())) == len(content)
    grown = installation.stack.growth(before, *names)
    assert max(grown.values()) < 50 * MEBIBYTE, grown
    sdk.files.delete(file.id)


# --- Batches ------------------------------------------------------------------------------------
async def test_a_batch_of_the_sdk(
    installation: Installation, sdk: OpenAI, rest: RestClient
) -> None:
    async with running_receiver() as receiver:
        url, events = f"{receiver.url}/hook", ["batch.completed", "batch.failed"]
        endpoint = await rest.post("/api/webhooks", {"url": url, "events": events})
        batch = create(sdk, "\n".join(lines(300)), metadata={"job": "nightly"})
        await until(lambda: receiver.requests)
        headers, body = receiver.requests[0]
        await rest.call("PATCH", f"/api/webhooks/{endpoint.body['id']}", json={"is_active": False})
    event = sdk.webhooks.unwrap(body, headers, secret=endpoint.body["secret"])
    assert event.type == "batch.completed"
    assert event.data.id == batch.id
    require_right_files(sdk, sdk.batches.retrieve(batch.id), 300)
    listed = sdk.batches.list(limit=1).data
    assert [found.id for found in listed] == [batch.id]
    assert listed[0].metadata == {"job": "nightly"}
    assert listed[0].usage is not None
    assert listed[0].usage.output_tokens > 0


def test_a_broken_line_is_reported(sdk: OpenAI) -> None:
    batch = ended(sdk, create(sdk, f"{line(1, FAST)}\n{{\n{line(1, FAST)}").id)
    assert batch.status == "failed"
    assert batch.errors is not None
    found = [(error.code, error.line) for error in batch.errors.data or ()]
    assert found == [("invalid_json_line", 2), ("duplicate_custom_id", 3)]


def test_a_batch_is_cancelled(sdk: OpenAI) -> None:
    slow = (line(number, "[sim:latency=60]") for number in range(1, 200))
    batch = create(sdk, "\n".join([line(0, FAST), *slow]))

    def has_answer() -> bool:
        counts = sdk.batches.retrieve(batch.id).request_counts
        return counts is not None and counts.completed == 1

    wait_until(has_answer, "the first answer", 30)
    assert sdk.batches.cancel(batch.id).status == "cancelling"
    batch = ended(sdk, batch.id)
    assert batch.status == "cancelled"
    assert [entry["custom_id"] for entry in results(sdk, batch.output_file_id)] == ["l0"]
    failed = results(sdk, batch.error_file_id)
    assert {entry["error"]["code"] for entry in failed} == {"batch_cancelled"}
    assert len(failed) == 199


# --- Deaths -------------------------------------------------------------------------------------
#: The simulated model's calls at once are limited, so that a batch lasts.
CAP = 5


@contextmanager
def short_leases(stack: Stack) -> Iterator[None]:
    """The worker's lease runs out two seconds after its death."""
    worker = stack.processes["worker-0"]
    lease = worker.environment.get("WORKER_LEASE_SECONDS")
    worker.stop()
    worker.environment["WORKER_LEASE_SECONDS"] = "4"
    worker.start()
    # Its process is whole then: its memory can be compared.
    stack.wait_until_ready()
    try:
        yield
    finally:
        worker.stop()
        worker.environment.pop("WORKER_LEASE_SECONDS")
        if lease is not None:
            worker.environment["WORKER_LEASE_SECONDS"] = lease
        worker.start()
        stack.wait_until_ready()


@pytest.mark.slow
def test_every_process_is_killed_once_and_nothing_is_lost(
    installation: Installation, sdk: OpenAI
) -> None:
    stack, count = installation.stack, 120
    names = ("worker-0", "scheduler-0", "web-0", "web-1")
    content = "\n".join(lines(count, "[sim:latency=0.2,tokens=8,tps=0]")).replace(MODEL, "killed")
    with short_leases(stack):
        # A process that has just begun has not loaded what a call needs.
        _latencies(sdk, PEOPLE)
        before = {name: sum(stack.memory(name).values()) for name in names}
        httpx.post(f"{stack.simulator_url}/stats/reset", timeout=30)
        batch_id = create(sdk, content).id

        def completed() -> int:
            try:
                counts = sdk.batches.retrieve(batch_id).request_counts
            except (openai.APIConnectionError, openai.InternalServerError):
                return 0
            return counts.completed if counts is not None else 0

        wait_until(lambda: completed() > 20, "the first lines", 60)
        for name in names:
            stack.kill(name)
            stack.restart(name)
        batch = ended(sdk, batch_id, 90)
        # Those that were restarted are no larger than those before them.
        grown = {name: sum(stack.memory(name).values()) - before[name] for name in names}
    assert max(grown.values()) < 50 * MEBIBYTE, grown
    require_right_files(sdk, batch, count)
    calls = httpx.get(f"{stack.simulator_url}/stats", timeout=30).json()["requests"]
    good = count - count // 100
    # What was in flight when the worker died is called again, and nothing else.
    assert good <= calls <= good + 2 * CAP


# --- Large batches ------------------------------------------------------------------------------
#: Calls of another user at once.
PEOPLE = 8


@pytest.mark.slow
@pytest.mark.parametrize("count", [10_000, pytest.param(50_000, marks=pytest.mark.timeout(1_800))])
def test_people_do_not_feel_a_large_batch(
    installation: Installation, sdk: OpenAI, count: int
) -> None:
    stack = installation.stack
    names = ("web-0", "web-1", "worker-0")
    with OpenAI(base_url=installation.base_url, api_key=installation.bob) as bob:
        idle = _latencies(bob, 40 * PEOPLE)
        before = stack.memory(*names)
        peak = dict.fromkeys(before, 0)
        batch = create(sdk, "\n".join(lines(count)))
        busy: list[float] = []
        with ThreadPoolExecutor(1) as watching:
            end = watching.submit(ended, sdk, batch.id, 1_800)
            while not end.done():
                busy += _latencies(bob, 4 * PEOPLE)
                grown = stack.growth(before, *names)
                peak = {process: max(peak[process], size) for process, size in grown.items()}
        require_right_files(sdk, end.result(), count)
    logger.info("p99 idle %.3f s, busy %.3f s; bytes grown: %s", _p99(idle), _p99(busy), peak)
    assert max(peak.values()) < 50 * MEBIBYTE, peak
    # On a machine of two cores the processes share, the batch's own work is felt a little.
    assert _p99(busy) < 1.1 * _p99(idle) + 0.2


def _latencies(sdk: OpenAI, count: int) -> list[float]:
    """Seconds that interactive calls of half a second take, PEOPLE at once."""

    def call(number: int) -> float:
        began = time.perf_counter()
        prompt = f"{number} [sim:latency=0.5,tokens=4,tps=0]"
        sdk.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": prompt}])
        return time.perf_counter() - began

    with ThreadPoolExecutor(PEOPLE) as people:
        return list(people.map(call, range(count)))


def _p99(seconds: list[float]) -> float:
    return sorted(seconds)[int(len(seconds) * 0.99)]
