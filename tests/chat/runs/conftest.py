"""Runs inside the test's own event loop: the feeder takes its turns when a test says so."""

from __future__ import annotations

import io
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from auditlog.context import disable_auditlog
from django.db import connections
from django.test import AsyncClient, Client

from accounts.models import User
from aily.database.threads import in_database
from chat import settlement
from chat.models import LLMModel, Run, Scene, Task
from chat.runs import stepping
from chat.services.scenes import create_version, publish
from tests.conftest import ClientOf
from tests.waiting import eventually

RUNS = "/api/llmchat/runs"
Json = dict[str, Any]


class RunClient:
    """The REST API of runs, for one user. Errors are assertion errors unless a status is given."""

    def __init__(self, client: Client) -> None:
        self.client = client

    def create(
        self, content: bytes | str, name: str = "rows.csv", *, status: int = 201, **form: Any
    ) -> Json:
        key = form.pop("idempotency_key", None)
        file = io.BytesIO(content if isinstance(content, bytes) else content.encode())
        file.name = name
        fields = {
            field: json.dumps(value) if isinstance(value, dict) else value
            for field, value in form.items()
        }
        headers = {"Idempotency-Key": key} if key else {}
        response = self.client.post(RUNS, {"file": file, **fields}, headers=headers)
        assert response.status_code == status, response.content
        found: Json = response.json()
        return found

    def get(self, run_id: str, path: str = "", *, status: int = 200) -> Any:
        response = self.client.get(f"{RUNS}/{run_id}{path}")
        assert response.status_code == status, response.content
        return response.json()

    def post(self, run_id: str, action: str, body: Json | None = None, *, status: int = 200) -> Any:
        response = self.client.post(
            f"{RUNS}/{run_id}/{action}", body or {}, content_type="application/json"
        )
        assert response.status_code == status, response.content
        return response.json()

    def patch(
        self, run_id: str, body: Json, *, status: int = 200, if_match: str | None = None
    ) -> Any:
        headers = {"If-Match": if_match} if if_match else {}
        response = self.client.patch(
            f"{RUNS}/{run_id}", body, content_type="application/json", headers=headers
        )
        assert response.status_code == status, response.content
        return response.json()

    async def results(self, run_id: str, query: str = "") -> bytes:
        headers = {"Authorization": self.client.defaults["HTTP_AUTHORIZATION"]}
        path = f"{RUNS}/{run_id}/results{query}"
        response: Any = await AsyncClient().get(path, headers=headers)
        assert response.status_code == 200
        pieces = [piece async for piece in response]
        await sync_to_async(connections.close_all)()
        return b"".join(pieces)


@pytest.fixture
def runs(alice: User, client_of: ClientOf, model: LLMModel) -> RunClient:
    """Alice's."""
    return RunClient(client_of(alice))


@pytest.fixture
def scene(model: LLMModel) -> Scene:
    """A scene with one variable, `text`, which is its prompt."""
    with disable_auditlog():
        scene = Scene.objects.create(slug="echo", title="Echo")
        publish(create_version(scene, None, {"user_template": "{{ text }}"}))
    return scene


def turn() -> None:
    """Settle what has ended, and let every run go on."""
    settlement.settle_ended_tasks()
    stepping.step()


async def turns_until(run_id: str, *states: str) -> Run:
    """Take turns until the run is in one of these states."""

    def look() -> Run | None:
        turn()
        run = Run.objects.get(pk=run_id)
        return run if run.state in states else None

    found = await eventually(lambda: in_database(look), f"{states}")
    assert found is not None
    return found


def prompts_of(run_id: str) -> list[str]:
    """What the run's tasks asked, in the order of their ids."""
    tasks = Task.objects.filter(run_id=run_id).order_by("id")
    return [task.messages[-1]["content"] for task in tasks]


Act = Callable[..., Awaitable[Any]]


@pytest.fixture
def act(transactional_db: None) -> Act:
    """Await a call of blocking code."""
    return in_database
