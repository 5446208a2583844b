"""A repeat under its idempotency key gets its task, whatever has changed since."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from pytest_django import Settings

from accounts.models import APIKey, User
from aily.database.threads import in_database
from aily.redis.clients import sync_redis
from aily.routing import routes as application
from chat.models import Budget, Conversation, LLMModel, Message, Provider, Scene, Status, Task
from chat.services import limits
from chat.services.scenes import create_version, publish
from chat.services.submit import resolve, submit_many
from tests.chat.api.conftest import API, Api
from tests.communicators import WebsocketCommunicator

pytestmark = pytest.mark.usefixtures("scenes")

KEY = "once"
SCENE = {"scene": "summarize", "variables": {"text": "x" * 100}}


@pytest.fixture(autouse=True)
def _fresh_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_depths", limits.Depths())


# --- What may change ----------------------------------------------------------------------------
def publish_another_version(settings: Settings) -> None:
    """Its schema does not take the variables any more."""
    scene = Scene.objects.get(slug="summarize")
    fields = {
        "user_template": "{{ other }}",
        "variables_schema": {"type": "object", "required": ["other"]},
    }
    publish(create_version(scene, None, fields))


def disable_scene(settings: Settings) -> None:
    Scene.objects.update(is_enabled=False)


def rename_scene(settings: Settings) -> None:
    Scene.objects.filter(slug="summarize").update(slug="gone")


def delete_scene(settings: Settings) -> None:
    Scene.objects.filter(slug="summarize").update(live_version=None)
    Task.objects.update(scene=None, scene_version=None)
    Scene.objects.get(slug="summarize").versions.all().delete()
    Scene.objects.filter(slug="summarize").delete()


def restrict_scene(settings: Settings) -> None:
    Scene.objects.update(is_restricted=True)


def disable_model(settings: Settings) -> None:
    LLMModel.objects.update(is_enabled=False, is_default=False)
    Provider.objects.update(is_enabled=False)


def lower_prompt_limit(settings: Settings) -> None:
    settings.PROMPT_MAX_BYTES = 50


def spend_budget(settings: Settings) -> None:
    Budget.objects.create(name="none", user=User.objects.get(username="alice"), limit_calls=0)


def lower_queue_limit(settings: Settings) -> None:
    settings.MAX_QUEUED_PER_USER = 1


def lower_queue_limit_of_all(settings: Settings) -> None:
    settings.MAX_QUEUED = 1


def lower_in_flight_limit(settings: Settings) -> None:
    settings.MAX_TASKS_IN_FLIGHT = 1


def lower_rate(settings: Settings) -> None:
    settings.RATE_LIMIT_PER_MINUTE = 1


def end_task(settings: Settings) -> None:
    Task.objects.update(status=Status.FAILED, error={"code": "internal", "message": ""})


CHANGES: list[Callable[[Settings], None]] = [
    publish_another_version,
    disable_scene,
    rename_scene,
    delete_scene,
    restrict_scene,
    disable_model,
    lower_prompt_limit,
    spend_budget,
    lower_queue_limit,
    lower_queue_limit_of_all,
    lower_in_flight_limit,
    lower_rate,
    end_task,
]


@pytest.mark.parametrize("change", CHANGES)
async def test_over_rest_a_repeat_gets_its_task_whatever_has_changed(
    api: Api, settings: Settings, change: Callable[[Settings], None]
) -> None:
    first = await api.post(f"{API}/request", SCENE, Idempotency_Key=KEY)
    await in_database(change, settings)
    again = await api.post(f"{API}/request", SCENE, Idempotency_Key=KEY)
    assert (again.status_code, again.json().get("task_id")) == (202, first.json()["task_id"])
    other = await api.post(f"{API}/request", {**SCENE, "lane": "batch"}, Idempotency_Key=KEY)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")
    assert await in_database(Task.objects.count) == 1


@pytest.mark.parametrize("change", CHANGES)
async def test_on_a_socket_a_repeat_gets_its_task_whatever_has_changed(
    alice: User, loop_services: None, settings: Settings, change: Callable[[Settings], None]
) -> None:
    _, secret = await in_database(APIKey.create, alice, "test")
    headers = [(b"authorization", f"Bearer {secret}".encode())]
    socket = WebsocketCommunicator(application, "/ws/llmchat/", headers)
    await socket.connect()
    await socket.receive_json_from()
    frame = {"type": "task.submit", "idempotency_key": KEY, "stream": False, **SCENE}

    async def submit_frame(ref: str) -> Any:
        await socket.send_json_to({**frame, "ref": ref})
        while (answer := await socket.receive_json_from()).get("ref") != ref:
            pass
        return answer

    first = await submit_frame("first")
    await in_database(change, settings)
    again = await submit_frame("again")
    assert (again["type"], again.get("task_id")) == ("task.accepted", first["task_id"])
    await socket.disconnect()
    assert await in_database(Task.objects.count) == 1


async def test_while_redis_is_away_a_repeat_gets_its_task_and_nothing_else_is_taken(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await api.post(f"{API}/request", SCENE, Idempotency_Key=KEY)
    pool: Any = sync_redis().connection_pool
    circuit = pool.circuit
    monkeypatch.setattr(circuit, "allows_call", lambda: False)
    circuit.record_failure()
    try:
        again = await api.post(f"{API}/request", SCENE, Idempotency_Key=KEY)
        refused = await api.post(f"{API}/request", SCENE, Idempotency_Key="another")
    finally:
        circuit.record_success()
    assert (again.status_code, again.json().get("task_id")) == (202, first.json()["task_id"])
    assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")


async def test_in_a_conversation_a_repeat_is_neither_busy_nor_too_late(
    api: Api, alice: User, settings: Settings
) -> None:
    conversation = await in_database(Conversation.objects.create, owner=alice)
    body = {**SCENE, "conversation_id": str(conversation.pk)}
    first = (await api.post(f"{API}/request", body, Idempotency_Key=KEY)).json()["task_id"]
    busy = await api.post(f"{API}/request", body, Idempotency_Key="another")
    assert (busy.status_code, busy.json()["code"]) == (409, "conversation_busy")

    def go_on() -> None:
        Task.objects.update(status=Status.FAILED)
        conversation.messages.create(role="user", content="y" * 300)

    await in_database(go_on)
    for change in (None, lower_prompt_limit):
        if change is not None:
            await in_database(change, settings)
        again = await api.post(f"{API}/request", body, Idempotency_Key=KEY)
        assert (again.status_code, again.json().get("task_id")) == (202, first)
    assert await in_database(Message.objects.count) == 2


async def test_a_retry_repeated_replaces_once(api: Api, alice: User) -> None:
    conversation = await in_database(Conversation.objects.create, owner=alice)
    body = {**SCENE, "conversation_id": str(conversation.pk)}
    old = (await api.post(f"{API}/request", body)).json()["task_id"]
    await in_database(Task.objects.update, status=Status.FAILED)
    body["replaces"] = old
    answers = await asyncio.gather(
        *(api.post(f"{API}/request", body, Idempotency_Key=KEY) for _ in range(5))
    )
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["task_id"] for answer in answers}) == 1
    assert await in_database(Message.objects.count) == 1


# --- What may not -------------------------------------------------------------------------------
async def test_whose_conversation_is_gone_has_repeated_nothing(api: Api, alice: User) -> None:
    conversation = await in_database(Conversation.objects.create, owner=alice)
    body = {**SCENE, "conversation_id": str(conversation.pk)}
    await api.post(f"{API}/request", body, Idempotency_Key=KEY)
    await in_database(lambda: Conversation.objects.all().delete())
    again = await api.post(f"{API}/request", body, Idempotency_Key=KEY)
    assert (again.status_code, again.json()["code"]) == (404, "not_found")


async def test_a_key_of_another_user_lets_nobody_past_a_limit(
    api: Api, bob_api: Api, settings: Settings
) -> None:
    await api.post(f"{API}/request", SCENE, Idempotency_Key=KEY)
    settings.RATE_LIMIT_PER_MINUTE = 1
    await bob_api.post(f"{API}/request", SCENE)
    refused = await bob_api.post(f"{API}/request", SCENE, Idempotency_Key=KEY)
    assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
    refused = await api.post(f"{API}/request", SCENE, Idempotency_Key="unknown")
    assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")


async def test_an_equal_request_that_comes_first_at_the_last_moment_is_found(
    api: Api, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    """Between the look for the key and the insert: another process has just accepted it."""
    settings.MAX_QUEUED_PER_USER = 1
    look_up = resolve.look_up
    first: list[Any] = []

    def let_another_come_first(submissions: Any) -> Any:
        lookups = look_up(submissions)
        monkeypatch.setattr(resolve, "look_up", look_up)
        first.extend(submit_many(submissions))
        return lookups

    monkeypatch.setattr(resolve, "look_up", let_another_come_first)
    answer = await api.post(f"{API}/request", SCENE, Idempotency_Key=KEY)
    assert (answer.status_code, answer.json().get("task_id")) == (202, first[0].task_id)
    assert await in_database(Task.objects.count) == 1


@pytest.mark.parametrize(("prepared", "more"), [(False, 0), (True, 1)])
async def test_a_key_costs_one_small_query_at_most(
    api: Api, queries: list[str], settings: Settings, prepared: bool, more: int
) -> None:
    """None where the look-ups of a submit share a round trip: prepared statements do not."""
    settings.DATABASE_PREPARED_STATEMENTS = prepared
    await api.post(f"{API}/request", SCENE)
    counts = []
    for key in ("", KEY, KEY):
        queries.clear()
        await api.post(f"{API}/request", SCENE, **({"Idempotency_Key": key} if key else {}))
        counts.append(len(queries))
        assert not any("idempotency_key IN" in sql for sql in queries)
    without, new, repeated = counts
    assert new == without + more
    assert repeated <= without + more
