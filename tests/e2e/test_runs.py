"""Runs through the front door, while processes are killed."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from uuid import uuid4

import httpx
import pytest
from websockets.asyncio.client import connect

from tests.e2e.conftest import Keys
from tests.stack import Stack
from tests.waiting import wait_until

logger = logging.getLogger(__name__)

RUNS = "/api/llmchat/runs"
ROWS = 120
#: Calls of the model `capped` at once.
CAP = 5


@pytest.fixture
def client(stack: Stack, keys: Keys) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {keys.alice}"}
    # A web process that is killed takes its requests with it: they are sent again.
    transport = httpx.HTTPTransport(retries=3)
    with httpx.Client(
        base_url=stack.base_url, headers=headers, transport=transport, timeout=30
    ) as client:
        yield client


def lines(rows: int, asked: str) -> str:
    return "".join(
        json.dumps(
            {
                "custom_id": f"row-{number}",
                "model": "capped",
                "messages": [{"role": "user", "content": f"Row {number} {asked}"}],
            }
        )
        + "\n"
        for number in range(rows)
    )


def create(client: httpx.Client, content: str, **fields: str) -> str:
    files = {"file": ("rows.jsonl", content.encode())}
    response = client.post(RUNS, files=files, data=fields)
    assert response.status_code == 201, response.text
    run_id: str = response.json()["id"]
    return run_id


def state(client: httpx.Client, run_id: str) -> dict[str, Any]:
    """The run, however often a process dies in between."""

    def ask() -> dict[str, Any] | None:
        try:
            response = client.get(f"{RUNS}/{run_id}")
        except httpx.TransportError:
            return None
        found: dict[str, Any] | None = response.json() if response.status_code == 200 else None
        return found

    found = wait_until(ask, "the run")
    assert found is not None
    return found


def succeeded(client: httpx.Client, run_id: str) -> int:
    count: int = state(client, run_id)["counts"]["succeeded"]
    return count


def requests_made(stack: Stack) -> int:
    made: int = httpx.get(f"{stack.simulator_url}/stats", timeout=30).json()["requests"]
    return made


@pytest.mark.slow
def test_every_process_is_killed_once_and_no_row_is_paid_twice(
    stack: Stack, client: httpx.Client
) -> None:
    worker = stack.processes["worker-0"]
    worker.stop()
    lease = worker.environment.get("WORKER_LEASE_SECONDS")
    worker.environment["WORKER_LEASE_SECONDS"] = "4"
    worker.start()
    try:
        httpx.post(f"{stack.simulator_url}/stats/reset", timeout=30)
        content = lines(ROWS, "[sim:latency=0.05,tokens=8,tps=0]")
        run_id = create(client, content, start="now", max_open="40")
        wait_until(lambda: succeeded(client, run_id) > 10, "the first rows", 60)
        stack.kill("worker-0")
        stack.restart("worker-0")
        wait_until(lambda: succeeded(client, run_id) > 60, "rows after the worker", 60)
        stack.kill("scheduler-0")
        stack.kill("web-0")
        stack.restart("web-0")
        stack.restart("scheduler-0")
        wait_until(lambda: state(client, run_id)["state"] == "done", "the end", 90)
    finally:
        worker.stop()
        worker.environment.pop("WORKER_LEASE_SECONDS")
        if lease is not None:
            worker.environment["WORKER_LEASE_SECONDS"] = lease
        worker.start()
        stack.wait_until_ready()
    assert state(client, run_id)["counts"]["succeeded"] == ROWS
    found = [json.loads(line) for line in client.get(f"{RUNS}/{run_id}/results").iter_lines()]
    assert [line["key"] for line in found] == [f"row-{number}" for number in range(ROWS)]
    assert all(line["result"]["text"] for line in found)
    assert len({line["task_id"] for line in found}) == ROWS
    # What was in flight when the worker died is called again, and nothing else: what ran, and what
    # had ended, so that its slot was free again, and was about to be stored.
    assert ROWS <= requests_made(stack) <= ROWS + 2 * CAP


def test_no_call_begins_two_seconds_after_a_pause(stack: Stack, client: httpx.Client) -> None:
    content = lines(400, "[sim:latency=0.05,tokens=8,tps=0]")
    run_id = create(client, content, start="now")
    wait_until(lambda: succeeded(client, run_id) > 5, "the first rows", 60)
    assert client.post(f"{RUNS}/{run_id}/pause", json={}).json()["state"] == "paused"
    # What runs ends within the two seconds; then the counts stand still, and so do the calls.
    wait_until(lambda: state(client, run_id)["counts"]["open"] == 0, "the last calls")
    calls = requests_made(stack)
    counts = state(client, run_id)["counts"]
    assert counts["cancelled"] == counts["failed"] == 0
    assert counts["pending"] + counts["succeeded"] == 400
    tasks = client.get("/api/llmchat/tasks", params={"status": "running"}).json()["count"]
    assert tasks == 0
    assert client.post(f"{RUNS}/{run_id}/cancel", json={}).status_code == 200
    wait_until(lambda: state(client, run_id)["state"] == "cancelled", "the end", 20)
    assert requests_made(stack) == calls


def reviews(rows: int) -> bytes:
    """A table of texts of very different lengths; the longer a text, the longer its answer."""
    rng = random.Random(17)
    found = []
    for number in range(rows):
        words = min(int(rng.lognormvariate(3.5, 0.8)) + 1, 400)
        asked = f"[sim:latency=0.1,tokens={words // 2 + rng.randint(5, 40)},tps=0]"
        found.append(f'{number},"{"word " * words}{asked}"\n')
    return ("id,Body\n" + "".join(found)).encode()


def wait_for(client: httpx.Client, run_id: str, name: str, patience: float = 120) -> dict[str, Any]:
    wait_until(lambda: state(client, run_id)["state"] == name, name, patience)
    return state(client, run_id)


def all_ended(client: httpx.Client, run_id: str) -> dict[str, Any]:
    wait_until(lambda: state(client, run_id)["counts"]["open"] == 0, "the last calls", 20)
    return state(client, run_id)


@pytest.mark.slow
def test_five_thousand_rows_cost_what_was_estimated_and_are_run_once(
    stack: Stack, client: httpx.Client
) -> None:
    def act(action: str, **body: object) -> dict[str, Any]:
        found: dict[str, Any] = client.post(f"{RUNS}/{run_id}/{action}", json=body).json()
        return found

    httpx.post(f"{stack.simulator_url}/stats/reset", timeout=30)
    form = {"scene": "summarize", "mapping": '{"text": "Body"}'}
    files = {"file": ("reviews.csv", reviews(5_000))}
    run_id = client.post(RUNS, files=files, data=form).json()["id"]
    wait_for(client, run_id, "ready")
    assert len(act("try", rows=10)["numbers"]) == 10
    wait_until(lambda: succeeded(client, run_id) == 10, "the tried rows", 30)
    estimated = Decimal(act("estimate")["likely"]["cost"])
    tried = Decimal(state(client, run_id)["cost"])
    # Till two fifths of it are spent.
    limit = round(tried + estimated * 2 / 5, 6)
    client.patch(f"{RUNS}/{run_id}", json={"max_cost": str(limit)}).raise_for_status()
    act("start")
    paused = wait_for(client, run_id, "paused")
    assert paused["reason"] == "max_cost"
    spent = Decimal(all_ended(client, run_id)["cost"])
    logger.info("max_cost %s, spent %s, estimated %s", limit, spent, estimated)
    assert limit * Decimal("0.95") < spent < limit * Decimal("1.05")
    client.patch(f"{RUNS}/{run_id}", json={"max_cost": None}).raise_for_status()
    act("resume")
    wait_until(lambda: succeeded(client, run_id) > 3_000, "most of the rows", 60)
    asked_at = time.monotonic()
    assert act("pause")["state"] == "paused"
    counts = all_ended(client, run_id)["counts"]
    logger.info("the last call ended %.2f s after the pause", time.monotonic() - asked_at)
    assert counts["succeeded"] < 5_000
    assert requests_made(stack) == counts["succeeded"]
    act("resume")
    done = wait_for(client, run_id, "done")
    assert done["counts"]["succeeded"] == requests_made(stack) == 5_000
    cost = Decimal(done["cost"]) - tried
    logger.info("estimated %s, cost %s", estimated, cost)
    assert Decimal("0.8") < estimated / cost < Decimal("1.2")


async def test_progress_is_pushed(stack: Stack, client: httpx.Client, keys: Keys) -> None:
    run_id = create(client, lines(60, "[sim:latency=0.05,tokens=8,tps=0]"))
    wait_until(lambda: state(client, run_id)["state"] == "ready", "the validating")
    frames: list[dict[str, Any]] = []
    url = stack.base_url.replace("http", "ws") + "/ws/llmchat/"
    headers = {"Authorization": f"Bearer {keys.alice}"}
    async with connect(url, additional_headers=headers) as socket:
        await socket.send(json.dumps({"type": "run.subscribe", "run_id": run_id}))
        await asyncio.to_thread(client.post, f"{RUNS}/{run_id}/start", json={})
        started_at = time.monotonic()
        async for message in socket:
            frame = json.loads(message)
            if frame["type"] == "run.progress":
                frames.append(frame)
                if frame["state"] == "done":
                    break
        seconds = time.monotonic() - started_at
        await socket.send(
            json.dumps({"type": "run.subscribe", "run_id": str(uuid4()), "ref": "none"})
        )
        refused = json.loads(await socket.recv())
        while refused["type"] != "error":
            refused = json.loads(await socket.recv())
    assert frames[0]["state"] == "ready"
    assert frames[-1]["counts"]["succeeded"] == 60
    # At most two a second, and those at its beginning and its end.
    assert len(frames) <= 2 * seconds + 4
    assert (refused["ref"], refused["error"]["code"]) == ("none", "not_found")


def test_a_large_file_is_streamed(stack: Stack, client: httpx.Client) -> None:
    """Much larger than other requests may be, and web and worker stay as large as they were."""
    row = lines(1, "x" * 800_000).replace("row-0", "row-%d")
    content = b"".join(row.replace("%d", str(number)).encode() for number in range(80))
    assert len(content) > 60_000_000
    names = ("web-0", "web-1", "worker-0")
    before = stack.memory(*names)
    response = client.post(RUNS, files={"file": ("rows.jsonl", content)})
    assert response.status_code == 201
    run_id = response.json()["id"]
    wait_until(lambda: state(client, run_id)["state"] == "ready", "the validating", 60)
    grown = stack.growth(before, *names)
    assert state(client, run_id)["counts"]["total"] == 80
    assert max(grown.values()) < 50 * 2**20, grown
    assert client.delete(f"{RUNS}/{run_id}").status_code == 204
    assert client.get(f"{RUNS}/{run_id}").status_code == 404
