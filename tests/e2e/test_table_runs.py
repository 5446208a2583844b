"""Runs of AI fields through the front door, while processes are killed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from chat.llm.simulator.answers import simulated_answer
from tests.e2e.conftest import Keys
from tests.stack import Stack
from tests.waiting import wait_until

#: Calls of the model `capped` at once.
CAP = 5
BATCH = 1_000
#: Each while rows are fed and answered.
KILLED = ("worker-0", "scheduler-0", "web-0", "valkey-0", "web-1")


@pytest.fixture
def client(stack: Stack, keys: Keys) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {keys.alice}"}
    # A web process that is killed takes its requests with it: they are sent again.
    transport = httpx.HTTPTransport(retries=3)
    with httpx.Client(
        base_url=f"{stack.base_url}/api", headers=headers, transport=transport, timeout=30
    ) as client:
        yield client


class Filled:
    """A table whose rows an AI field is to fill."""

    def __init__(self, client: httpx.Client, rows: int, asked: str) -> None:
        self._client = client
        made = self._post("", {"name": "Rows", "fields": [{"name": "Text", "kind": "text"}]})
        self.path = f"/{made['id']}"
        self._text = made["fields"][0]["key"]
        # Another run's answers are kept for equal texts.
        self.texts = [f"Row {number} of {rows} {asked}" for number in range(rows)]
        for begin in range(0, rows, BATCH):
            operations = [
                {"op": "create", "values": {self._text: text}}
                for text in self.texts[begin : begin + BATCH]
            ]
            self._post(f"{self.path}/rows:batch", {"operations": operations})
        body = {"name": "Answer", "scene": "shared", "model": "capped"}
        ai_field = self._post(f"{self.path}/ai-fields", {**body, "mapping": {"text": self._text}})
        self.ai_field = ai_field["id"]
        self._answer = ai_field["outputs"][0]["key"]

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        response = self._client.post(f"/tables{path}", json=body)
        assert response.is_success, response.text
        answer: dict[str, Any] = response.json()
        return answer

    def start(self, **options: Any) -> str:
        path = f"/ai-fields/{self.ai_field}/runs"
        run_id: str = self._post(path, {"start": "now", **options})["id"]
        return run_id

    def counts(self, run_id: str) -> dict[str, Any]:
        """State and counts of the run, however often a process dies in between."""

        def ask() -> dict[str, Any] | None:
            try:
                response = self._client.get(f"/tables/runs/{run_id}")
            except httpx.TransportError:
                return None
            if response.status_code != 200:
                return None
            run = response.json()
            return {"state": run["state"], **run["counts"]}

        found = wait_until(ask, "the run")
        assert found is not None
        return found

    def wait(self, run_id: str, rows: int, seconds: float = 60) -> None:
        wait_until(lambda: self.counts(run_id)["succeeded"] >= rows, f"{rows} rows", seconds)

    def answers(self) -> list[str | None]:
        found: list[str | None] = []
        cursor = None
        while True:
            body = {"limit": 500, "cursor": cursor}
            page = self._post(f"{self.path}/rows:query", body)
            found += [row["values"][self._answer] for row in page["items"]]
            cursor = page["next"]
            if cursor is None:
                return found

    def expected(self) -> list[str]:
        bodies = [
            {"model": "capped", "messages": [{"role": "user", "content": text}]}
            for text in self.texts
        ]
        return [simulated_answer(body).text for body in bodies]

    def tasks(self, run_id: str) -> list[str]:
        """Ids of the tasks that answered the rows."""
        found: list[str] = []
        after: int | None = 0
        while after is not None:
            page = self._client.get(
                f"/tables/runs/{run_id}/rows", params={"after": after, "limit": 500}
            )
            found += [row["task_id"] for row in page.json()["items"]]
            after = page.json()["next"]
        return found


def requests_made(stack: Stack) -> int:
    made: int = httpx.get(f"{stack.simulator_url}/stats", timeout=30).json()["requests"]
    return made


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("rows", [120, 5_000])
def test_every_process_is_killed_and_each_cell_has_its_answer_once(
    stack: Stack, client: httpx.Client, rows: int
) -> None:
    table = Filled(client, rows, "[sim:latency=0.03,tokens=8,tps=0]")
    worker = stack.processes["worker-0"]
    worker.stop()
    lease = worker.environment.get("WORKER_LEASE_SECONDS")
    worker.environment["WORKER_LEASE_SECONDS"] = "4"
    worker.start()
    try:
        httpx.post(f"{stack.simulator_url}/stats/reset", timeout=30)
        # Less than all of them: each process dies while there are rows to be fed.
        run_id = table.start(max_open=max(40, rows // 20))
        for place, name in enumerate(KILLED, 1):
            table.wait(run_id, rows * place // (len(KILLED) + 3), 60 + rows / 20)
            stack.kill(name)
            stack.restart(name)
            if name == "valkey-0":
                # The scheduler ends once its lock is gone, and is started again by its supervisor.
                stack.restart("scheduler-0")
        done = "the end"
        wait_until(lambda: table.counts(run_id)["state"] == "done", done, 90 + rows / 20)
    finally:
        worker.stop()
        worker.environment.pop("WORKER_LEASE_SECONDS")
        if lease is not None:
            worker.environment["WORKER_LEASE_SECONDS"] = lease
        worker.start()
        stack.wait_until_ready()
    assert table.counts(run_id)["succeeded"] == rows
    # Nothing is lost, shifted or doubled.
    assert table.answers() == table.expected()
    assert len(set(table.tasks(run_id))) == rows
    # Paid again is only what was in flight when the worker died.
    assert rows <= requests_made(stack) <= rows + 2 * CAP


@pytest.mark.slow
def test_no_call_begins_two_seconds_after_a_pause(stack: Stack, client: httpx.Client) -> None:
    table = Filled(client, 300, "[sim:latency=0.05,tokens=8,tps=0]")
    run_id = table.start()
    table.wait(run_id, rows=5)
    assert client.post(f"/tables/runs/{run_id}:pause", json={}).json()["state"] == "paused"
    wait_until(lambda: table.counts(run_id)["open"] == 0, "the last calls")
    calls, counts = requests_made(stack), table.counts(run_id)
    assert counts["pending"] + counts["succeeded"] == 300
    assert client.post(f"/tables/runs/{run_id}:cancel", json={}).status_code == 200
    wait_until(lambda: table.counts(run_id)["state"] == "cancelled", "the end", 20)
    assert requests_made(stack) == calls
