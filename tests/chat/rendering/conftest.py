"""Authors and callers over REST."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from accounts.models import User
from chat.models import LLMModel, Scene
from tests.conftest import ClientOf

JSON = "application/json"
#: Writes and publishes a version. Gives the answer of the last request: the first refusal, if any.
Publish = Callable[..., Any]
#: Submits variables to the scene.
SubmitVariables = Callable[[Any], Any]

#: Of what is stopped: each such test takes so long. All else has the time of a busy machine.
SHORT_SECONDS = 0.2


@pytest.fixture
def _patient(settings: Settings) -> None:
    settings.RENDERING_SECONDS = 10


@pytest.fixture
def _soon(_patient: None, settings: Settings) -> None:
    settings.RENDERING_SECONDS = SHORT_SECONDS


@pytest.fixture
def scene(transactional_db: None) -> Scene:
    return Scene.objects.create(slug="odd", title="Odd")


@pytest.fixture
def publish(staff: User, client_of: ClientOf, scene: Scene) -> Publish:
    client = client_of(staff)

    def write(user_template: str = "ok", variables_schema: Any = None, **fields: Any) -> Any:
        body = {"user_template": user_template, "variables_schema": variables_schema or {}}
        made = client.post("/api/scenes/odd/versions", {**body, **fields}, JSON)
        if made.status_code != 201:
            return made
        return client.post(f"/api/scenes/odd/versions/{made.json()['number']}/publish")

    return write


@pytest.fixture
def caller(alice: User, client_of: ClientOf, model: LLMModel) -> Client:
    return client_of(alice)


@pytest.fixture
def submit_variables(caller: Client) -> SubmitVariables:
    def submit(variables: Any) -> Any:
        return caller.post("/api/llmchat/prompts/odd/api", {"variables": variables}, JSON)

    return submit


def refusal(answer: Any) -> tuple[int, str, list[str]]:
    """Status, code and the fields that a refusal names."""
    problem = answer.json()
    return (
        answer.status_code,
        problem["code"],
        [error["field"] for error in problem.get("errors", [])],
    )
