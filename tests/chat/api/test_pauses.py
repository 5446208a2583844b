"""REST: what waits for a pause says so, and staff lift it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.test import Client
from django.utils import timezone

from accounts.models import User
from aily.redis.clients import async_redis, sync_redis
from chat import scheduler
from chat.models import LLMModel, Task
from chat.scheduler import Fault, breakers
from chat.scheduler.keys import deployment_keys
from tests.conftest import ClientOf

PAUSES = "/api/llmchat/pauses"
ASKED = {"messages": [{"role": "user", "content": "Hi"}]}


def report(model: LLMModel, task_id: str, fault: Fault, seconds: float | None = None) -> None:
    async_to_sync(_report)(model.own_key, task_id, fault, seconds)


async def _report(
    deployment: scheduler.DeploymentKey, task_id: str, fault: Fault, seconds: float | None
) -> None:
    await scheduler.report_failure(
        deployment,
        task_id,
        owner_id=1,
        lane=1,
        cap=10,
        fault=fault,
        retry_after_seconds=seconds,
    )
    await async_redis().aclose()


@pytest.fixture
def paused(model: LLMModel) -> LLMModel:
    report(model, "t", Fault.THROTTLED, 120)
    return model


@pytest.fixture
def left_alone(model: LLMModel, monkeypatch: pytest.MonkeyPatch) -> LLMModel:
    monkeypatch.setattr(breakers, "BREAKER_SECONDS", 60)
    for number in range(breakers.BREAKER_FAILURES):
        report(model, f"t{number}", Fault.FAILED)
    return model


def submit(client: Client) -> dict[str, Any]:
    answer = client.post("/api/llmchat/request", ASKED, content_type="application/json")
    assert answer.status_code == 202, answer.content
    accepted: dict[str, Any] = answer.json()
    return accepted


def check_wait(shown: dict[str, Any], kind: str, seconds: float) -> None:
    assert shown["waiting_for"]["kind"] == kind
    left = datetime.fromisoformat(shown["waiting_for"]["until"]) - datetime.now(UTC)
    assert timedelta(seconds=seconds - 30) < left <= timedelta(seconds=seconds + 1)
    assert seconds - 30 < shown["eta_seconds"] <= seconds + 1


# --- What the owner of a task is shown ------------------------------------------------------------
def test_a_task_that_waits_for_a_pause_says_so_wherever_it_is_shown(
    paused: LLMModel, alice: User, client_of: ClientOf
) -> None:
    client = client_of(alice)
    accepted = submit(client)
    check_wait(accepted, "pause", 120)
    check_wait(client.get(f"/api/llmchat/tasks/{accepted['task_id']}").json(), "pause", 120)
    [listed] = client.get("/api/llmchat/tasks").json()["items"]
    check_wait(listed, "pause", 120)
    assert listed["position"] == 1


def test_a_task_that_waits_for_an_open_breaker_says_so(
    left_alone: LLMModel, alice: User, client_of: ClientOf
) -> None:
    check_wait(submit(client_of(alice)), "breaker", breakers.BREAKER_SECONDS)


def test_a_task_that_waits_for_its_next_attempt_says_so(
    model: LLMModel, alice: User, client_of: ClientOf
) -> None:
    soon = timezone.now() + timedelta(seconds=90)
    task = Task.objects.create(owner=alice, model=model, messages=[], not_before=soon)
    client = client_of(alice)
    [listed] = client.get("/api/llmchat/tasks").json()["items"]
    for shown in (client.get(f"/api/llmchat/tasks/{task.pk}").json(), listed):
        check_wait(shown, "retry", 90)
        assert shown["position"] is None


def test_of_its_own_next_attempt_and_of_its_model_a_task_tells_the_later(
    paused: LLMModel, alice: User, client_of: ClientOf
) -> None:
    client = client_of(alice)
    for seconds, kind, longest in ((20, "pause", 120), (200, "retry", 200)):
        later = timezone.now() + timedelta(seconds=seconds)
        task = Task.objects.create(owner=alice, model=paused, messages=[], not_before=later)
        shown = client.get(f"/api/llmchat/tasks/{task.pk}").json()
        check_wait(shown, kind, longest)
        assert shown["position"] is None


def test_a_task_that_waits_for_its_turn_alone_waits_for_nothing_else(
    model: LLMModel, alice: User, client_of: ClientOf
) -> None:
    shown = submit(client_of(alice))
    assert (shown["position"], shown["eta_seconds"], shown["waiting_for"]) == (1, 0.0, None)


# --- What staff see and do ------------------------------------------------------------------------
def test_staff_see_a_paused_model_and_lift_its_pause(
    paused: LLMModel, staff: User, client_of: ClientOf
) -> None:
    client = client_of(staff)
    [pause] = client.get(PAUSES).json()["items"]
    assert (pause["kind"], pause["name"], pause["opened"]) == ("model", paused.name, 0)
    assert 110 < pause["seconds_left"] <= 120
    assert client.delete(f"{PAUSES}/models/{paused.name}").status_code == 204
    assert client.get(PAUSES).json() == {"items": [], "count": 0}
    assert client.delete(f"{PAUSES}/models/{paused.name}").status_code == 204, "harmless again"


def test_staff_see_a_provider_that_is_left_alone_and_have_it_called_again(
    left_alone: LLMModel, staff: User, client_of: ClientOf
) -> None:
    client = client_of(staff)
    [pause] = client.get(PAUSES).json()["items"]
    assert (pause["kind"], pause["name"], pause["opened"]) == ("provider", "simulator", 1)
    assert client.delete(f"{PAUSES}/providers/simulator").status_code == 204
    assert client.get(PAUSES).json()["items"] == []
    assert not sync_redis().exists(deployment_keys(left_alone.own_key).failures)


def test_what_there_is_not_cannot_be_lifted(
    model: LLMModel, staff: User, client_of: ClientOf
) -> None:
    client = client_of(staff)
    assert client.delete(f"{PAUSES}/models/no-such").status_code == 404
    assert client.delete(f"{PAUSES}/providers/no-such").status_code == 404


@pytest.mark.parametrize("method", ["get", "delete"])
def test_who_is_no_staff_neither_sees_nor_lifts(
    paused: LLMModel, alice: User, client_of: ClientOf, method: str
) -> None:
    path = PAUSES if method == "get" else f"{PAUSES}/models/{paused.name}"
    assert getattr(client_of(alice), method)(path).status_code == 403
    assert scheduler.blocks([paused.own_key])[0]


# --- Pauses by staff ------------------------------------------------------------------------------
@pytest.mark.parametrize("path", ["models/deepseek-flash", "providers/simulator"])
def test_staff_pause_and_resume_a_model_or_a_provider(
    path: str, model: LLMModel, staff: User, alice: User, client_of: ClientOf
) -> None:
    client = client_of(staff)
    for _ in range(2):
        assert client.put(f"{PAUSES}/{path}").status_code == 204, "harmless again"
    [pause] = client.get(PAUSES).json()["items"]
    assert (pause["cause"], pause["until"], pause["seconds_left"]) == ("staff", None, None)
    assert f"{pause['kind']}s/{pause['name']}" == path
    asking = client_of(alice)
    accepted = submit(asking)
    waiting = {"kind": "staff", "until": None}
    assert (accepted["waiting_for"], accepted["eta_seconds"]) == (waiting, None)
    # Of all that is in Redis nothing is needed.
    sync_redis().flushdb()
    for shown in (
        asking.get(f"/api/llmchat/tasks/{accepted['task_id']}").json(),
        asking.get("/api/llmchat/tasks").json()["items"][0],
    ):
        assert shown["waiting_for"] == waiting
    assert client.get(f"/api/{path}").json()["paused_at"] is not None
    assert client.delete(f"{PAUSES}/{path}").status_code == 204
    assert client.get(PAUSES).json()["items"] == []
    assert asking.get(f"/api/llmchat/tasks/{accepted['task_id']}").json()["waiting_for"] is None


def test_who_is_no_staff_pauses_nothing(
    model: LLMModel, alice: User, staff: User, client_of: ClientOf
) -> None:
    for path in ("models/deepseek-flash", "providers/simulator"):
        assert client_of(alice).put(f"{PAUSES}/{path}").status_code == 403
        assert client_of(staff).put(f"{PAUSES}/{path}-not").status_code == 404
    model.refresh_from_db()
    assert not model.is_paused


# --- Disabled models ------------------------------------------------------------------------------
@pytest.mark.parametrize("path", ["models/deepseek-flash", "providers/simulator"])
@pytest.mark.parametrize("named", [{}, {"model": "deepseek-flash"}])
def test_a_submit_to_a_disabled_model_says_so(
    path: str,
    named: dict[str, str],
    model: LLMModel,
    staff: User,
    alice: User,
    client_of: ClientOf,
) -> None:
    client = client_of(staff)
    changed = client.patch(f"/api/{path}", {"is_enabled": False}, content_type="application/json")
    assert changed.status_code == 200, changed.content
    answer = client_of(alice).post(
        "/api/llmchat/request", {**ASKED, **named}, content_type="application/json"
    )
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (409, "model_disabled")
    assert problem["errors"][0]["field"] == "model"
    assert "'deepseek-flash' is disabled" in problem["detail"]
