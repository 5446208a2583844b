"""Stored responses: reading, cancelling, deleting, their input items, and how long they last."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import httpx
import pytest
from django.utils import timezone

from accounts.models import APIKey, User
from aily.database.threads import in_database
from chat import retention
from chat.models import LLMModel, StoredResponse, Task
from chat.openai.responses.objects import task_id_of
from chat.settlement import settle_ended_tasks
from tests.chat.openai.conftest import V1
from tests.chat.openai.responses.client import ResponsesClient, deltas_of, numbers, text_of
from tests.clients.openai_schemas import check
from tests.waiting import eventually

PLAIN = {"model": "plain"}


@pytest.fixture
async def bobs(responses: ResponsesClient, v1: V1, bob: User) -> ResponsesClient:
    _, secret = await in_database(APIKey.create, bob, "test")
    return ResponsesClient(v1(secret))


# --- Background ---------------------------------------------------------------------------------
async def test_a_background_response_is_polled(responses: ResponsesClient) -> None:
    begun = await responses.create("In the background", background=True, **PLAIN)
    assert (begun["status"], begun["output"]) == ("queued", [])
    ended = await responses.ended(begun["id"])
    assert ended["status"] == "completed"
    assert text_of(ended) != ""
    assert ended["background"] is True


async def test_a_failed_one_says_why(responses: ResponsesClient) -> None:
    begun = await responses.create("Fail [sim:status=400]", background=True, **PLAIN)
    ended = await responses.ended(begun["id"])
    assert ended["status"] == "failed"
    assert ended["error"]["code"] == "invalid_prompt"
    assert ended["completed_at"] is None


async def test_one_that_expires_fails(
    alice_v1: httpx.AsyncClient, model: LLMModel, settings: Any
) -> None:
    idle = ResponsesClient(alice_v1)
    options = {"completion_window": "2h"}
    begun = await idle.create("Late", background=True, background_options=options)
    task_id = task_id_of(begun["id"]) or pytest.fail("no id")

    def expire() -> None:
        Task.objects.filter(pk=task_id).update(status="expired", finished_at=timezone.now())

    await in_database(expire)
    ended = await idle.get(begun["id"])
    assert ended["status"] == "failed"
    assert ended["error"]["code"] == "server_error"
    events = await idle.events(begun["id"])
    assert events[-1]["response"] == ended


async def test_a_cancelled_response_keeps_its_text(responses: ResponsesClient) -> None:
    prompt = "Slowly [sim:tokens=2000,tps=50]"
    events = asyncio.create_task(responses.stream(prompt, background=True, **PLAIN))

    async def running() -> Any:
        found = await in_database(StoredResponse.objects.select_related("task").first)
        return found if found is not None and found.task.status == "running" else None

    stored = await eventually(running)
    response_id = str(stored)
    answer = await responses.http.post(f"/responses/{response_id}/cancel")
    assert answer.status_code == 200
    check("Response", answer.json())
    cancelled = answer.json()
    assert cancelled["status"] == "cancelled"
    sent = await events
    assert sent[-1]["type"] == "response.incomplete"
    assert sent[-1]["response"]["status"] == "cancelled"
    assert numbers(sent) == list(range(len(sent)))
    again = await responses.http.post(f"/responses/{response_id}/cancel")
    assert again.json() == await responses.get(response_id) == sent[-1]["response"] == cancelled
    assert text_of(cancelled) == deltas_of(sent)
    assert await responses.events(response_id, 4) == sent[5:]


async def test_a_queued_one_is_cancelled_too(alice_v1: httpx.AsyncClient, model: LLMModel) -> None:
    idle = ResponsesClient(alice_v1)
    begun = await idle.create("Never", background=True)
    answer = await idle.http.post(f"/responses/{begun['id']}/cancel")
    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    events = await idle.events(begun["id"])
    assert [event["type"] for event in events] == [
        "response.created",
        "response.queued",
        "response.in_progress",
        "response.incomplete",
    ]


async def test_only_background_responses_are_cancelled(responses: ResponsesClient) -> None:
    response = await responses.create("Now", **PLAIN)
    answer = await responses.http.post(f"/responses/{response['id']}/cancel")
    assert answer.status_code == 400
    ended = await responses.create("Done", background=True, **PLAIN)
    done = await responses.ended(ended["id"])
    answer = await responses.http.post(f"/responses/{ended['id']}/cancel")
    assert (answer.status_code, answer.json()) == (200, done)


# --- Deleting -----------------------------------------------------------------------------------
async def test_a_deleted_response_is_gone(responses: ResponsesClient) -> None:
    response = await responses.create("Forget this", **PLAIN)
    answer = await responses.http.delete(f"/responses/{response['id']}")
    assert answer.json() == {"id": response["id"], "object": "response", "deleted": True}
    for path in ("", "/input_items"):
        answer = await responses.http.get(f"/responses/{response['id']}{path}")
        assert answer.status_code == 404
        check("ErrorResponse", answer.json())
    answer = await responses.http.delete(f"/responses/{response['id']}")
    assert answer.status_code == 404
    answer = await responses.post(
        {"model": "plain", "input": "Go on", "previous_response_id": response["id"]}
    )
    assert answer.json()["error"]["code"] == "previous_response_not_found"
    stored = await in_database(StoredResponse.objects.get)
    assert (stored.input, stored.transcript) == ([], [])


async def test_deleting_a_running_response_cancels_it(
    alice_v1: httpx.AsyncClient, model: LLMModel
) -> None:
    idle = ResponsesClient(alice_v1)
    begun = await idle.create("Never", background=True)
    answer = await idle.http.delete(f"/responses/{begun['id']}")
    assert answer.status_code == 200
    task = await in_database(Task.objects.get)
    assert task.status == "cancelled"


async def test_a_response_lasts_as_long_as_its_task(responses: ResponsesClient) -> None:
    response = await responses.create("Old", **PLAIN)
    await in_database(settle_ended_tasks)
    later = timezone.now() + timedelta(days=1)
    assert await in_database(lambda: sum(retention.purge(later))) == 1
    answer = await responses.http.get(f"/responses/{response['id']}")
    assert answer.status_code == 404
    assert not await in_database(StoredResponse.objects.exists)


# --- Owners -------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("GET", "?stream=true"),
        ("DELETE", ""),
        ("POST", "/cancel"),
        ("GET", "/input_items"),
    ],
)
async def test_another_users_response_is_not_there(
    responses: ResponsesClient, bobs: ResponsesClient, method: str, path: str
) -> None:
    response = await responses.create("Mine", background=True, **PLAIN)
    for name in (response["id"], "resp_" + "0" * 32, "resp_x", "nonsense"):
        answer = await bobs.http.request(method, f"/responses/{name}{path}")
        assert answer.status_code == 404, name
        check("ErrorResponse", answer.json())
        assert name in answer.json()["error"]["message"]
    assert (await responses.ended(response["id"]))["status"] == "completed"


async def test_bad_numbers_are_refused(responses: ResponsesClient) -> None:
    response = await responses.create("Numbers", **PLAIN)
    for query in ("starting_after=-1", "starting_after=x", "stream=maybe", "starting_after=1e3"):
        answer = await responses.http.get(f"/responses/{response['id']}?stream=true&{query}")
        assert answer.status_code == 400, query
        assert answer.json()["error"]["param"] == query.partition("=")[0]


# --- Input items --------------------------------------------------------------------------------
async def test_input_items_come_in_pages(responses: ResponsesClient) -> None:
    items: list[Any] = [
        {"role": role, "content": f"Number {number}"}
        for number, role in enumerate(["user", "assistant"] * 3)
    ]
    items.append({"id": "msg_mine", "role": "user", "content": "Number 6"})
    first = await responses.create("Before", **PLAIN)
    response = await responses.create(items, previous_response_id=first["id"], **PLAIN)

    async def page(**query: Any) -> Any:
        path = f"/responses/{response['id']}/input_items"
        answer = await responses.http.get(path, params=query)
        assert answer.status_code == 200, answer.text
        check("ResponseItemList", answer.json())
        return answer.json()

    def texts(listed: Any) -> list[str]:
        return [item["content"][0]["text"][-1] for item in listed["data"]]

    whole = await page()
    assert texts(whole) == list("6543210")
    assert whole["has_more"] is False
    assert whole["data"][0]["id"] == whole["first_id"] == "msg_mine"
    ascending = await page(order="asc", limit=3)
    assert texts(ascending) == list("012")
    assert ascending["has_more"] is True
    rest = await page(order="asc", limit=4, after=ascending["last_id"])
    assert (texts(rest), rest["has_more"]) == (list("3456"), False)
    assert texts(await page(limit=2, after=whole["data"][4]["id"])) == list("10")
    for query in ("limit=0", "limit=101", "order=up", "after=msg_x"):
        answer = await responses.http.get(f"/responses/{response['id']}/input_items?{query}")
        assert answer.status_code == 400, query
        assert answer.json()["error"]["param"] == query.partition("=")[0]
