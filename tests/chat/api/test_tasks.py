"""REST: what is refused, what is awaited, and what repeating a request does."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from django.test import AsyncClient
from pytest_django import Settings

from accounts.models import APIKey, User
from aily.database.threads import in_database
from chat.api import event_streams
from chat.models import Conversation, Message, Scene, Task
from chat.runner.runtime import Runtime
from tests.chat.api.conftest import API, Api
from tests.chat.conftest import Submit, frames_of, row
from tests.subtests import subtested

pytestmark = pytest.mark.usefixtures("scenes")

SUMMARIZE = f"{API}/prompts/summarize/api"
REQUEST = f"{API}/request"
QUICK: dict[str, Any] = {"messages": [{"role": "user", "content": "Hi [sim:tokens=8]"}]}
KEY = "once"
NOBODYS = "01900000-0000-7000-8000-000000000000"


async def stored() -> tuple[int, int]:
    """How many tasks and messages there are."""
    return await in_database(lambda: (Task.objects.count(), Message.objects.count()))


# --- Refused ------------------------------------------------------------------------------------
REFUSED = {
    "unknown scene": (
        f"{API}/prompts/nope/api",
        {"variables": {"text": "x"}},
        404,
        "not_found",
        "scene",
    ),
    "missing variable": (SUMMARIZE, {"variables": {}}, 422, "invalid_variable", "variables.text"),
    "wrong variable": (
        SUMMARIZE,
        {"variables": {"text": 7}},
        422,
        "invalid_variable",
        "variables.text",
    ),
    "extra variable": (
        SUMMARIZE,
        {"variables": {"text": "x", "more": "y"}},
        422,
        "invalid_variable",
        "variables.more",
    ),
    "unknown field": (SUMMARIZE, {"variable": {"text": "x"}}, 422, "invalid_request", "variable"),
    "unknown lane": (REQUEST, {**QUICK, "lane": "fast"}, 422, "invalid_request", "lane"),
    "unknown model": (REQUEST, {**QUICK, "model": "gpt-0"}, 400, "invalid_request", "model"),
    "nothing asked": (REQUEST, {}, 422, "invalid_request", ""),
    "no content": (REQUEST, {"messages": [{"role": "user"}]}, 422, "invalid_request", "messages.0"),
    "no such conversation": (
        REQUEST,
        {**QUICK, "conversation_id": NOBODYS},
        404,
        "not_found",
        "conversation_id",
    ),
    "too long a prompt": (
        REQUEST,
        {"messages": [{"role": "user", "content": "x" * 3_000}]},
        413,
        "too_large",
        "messages",
    ),
    "too large a body": (REQUEST, {**QUICK, "metadata": {"x": "y" * 9_000}}, 413, "too_large", ""),
    "no JSON": (REQUEST, "{", 400, "invalid_request", ""),
    "no object": (REQUEST, [], 422, "invalid_request", ""),
}


@subtested("case", REFUSED)
@pytest.mark.parametrize("surface", ["", "stream"])
async def test_a_bad_request_names_its_field_and_stores_nothing(
    api: Api, settings: Settings, case: str, surface: str
) -> None:
    settings.PROMPT_MAX_BYTES, settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 2_000, 8_000
    path, body, status, code, field = REFUSED[case]
    if surface:
        path = path.removesuffix("/api") + "/stream"
    answer = await api.post(path, body)
    problem = answer.json()
    assert (answer.status_code, problem["status"], problem["code"]) == (status, status, code)
    assert answer["Content-Type"] == "application/problem+json"
    fields = [error["field"].removeprefix("body.") for error in problem.get("errors", [])]
    assert fields == ([field] if field else []) or (not field and fields == ["body"])
    assert await stored() == (0, 0)


async def test_a_scene_that_is_switched_off_is_not_there(api: Api) -> None:
    await in_database(Scene.objects.filter(slug="summarize").update, is_enabled=False)
    answer = await api.post(SUMMARIZE, {"variables": {"text": "x"}})
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert await stored() == (0, 0)


async def test_anothers_task_looks_like_one_that_does_not_exist(
    api: Api, bob_api: Api, submit_as_alice: Submit
) -> None:
    task_id = await submit_as_alice("Alice's secret", metadata={"mine": "secret"})
    for path, method in (("", "get"), ("/cancel", "post"), ("/events", "get")):
        answers = [
            await getattr(bob_api, method)(f"{API}/tasks/{task}{path}")
            for task in (task_id, NOBODYS)
        ]
        assert [answer.status_code for answer in answers] == [404, 404]
        problems = [answer.json() for answer in answers]
        for problem in problems:
            del problem["instance"]
        assert problems[0] == problems[1]
    assert (await bob_api.get(f"{API}/tasks")).json() == {"items": [], "count": 0}
    assert (await api.get(f"{API}/tasks/{task_id}")).json()["status"] == "queued"


async def test_anothers_conversation_is_not_found_and_not_written_to(api: Api, bob: User) -> None:
    conversation = await in_database(Conversation.objects.create, owner=bob)
    answer = await api.post(REQUEST, {**QUICK, "conversation_id": str(conversation.pk)})
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert await stored() == (0, 0)


async def test_without_a_usable_key_nothing_is_accepted(
    alice: User, loop_services: None, submit_as_alice: Submit
) -> None:
    task_id = await submit_as_alice("Alice's")
    key, secret = await in_database(APIKey.create, alice, "revoked")
    await in_database(APIKey.objects.filter(pk=key.pk).revoke)
    for wrong in (None, secret, "aily_no", "no"):
        client = Api(wrong)
        answers = [await client.post(path, QUICK) for path in (REQUEST, f"{REQUEST}/stream")]
        answers += [await client.get(f"{API}/tasks{path}") for path in ("", f"/{task_id}")]
        assert [answer.status_code for answer in answers] == [401] * 4
        assert {answer.json()["code"] for answer in answers} == {"unauthenticated"}
    assert await stored() == (1, 0)


# --- Lanes --------------------------------------------------------------------------------------
async def test_a_key_may_have_a_lane_of_its_own(api: Api, alice: User) -> None:
    browser = AsyncClient()
    await browser.aforce_login(alice)
    body = {"name": "nightly", "lane": "batch"}
    made = await browser.post("/api/keys", body, content_type="application/json")
    assert (made.status_code, made.json()["lane"]) == (201, "batch")
    nightly = Api(made.json()["secret"])
    for fields, lane in (({}, "batch"), ({"lane": "interactive"}, "interactive")):
        answer = await nightly.post(REQUEST, {**QUICK, **fields})
        task = (await nightly.get(answer["Location"])).json()
        assert task["lane"] == lane


# --- Awaited ------------------------------------------------------------------------------------
async def test_sync_waits_for_the_result(api: Api, worker: Runtime) -> None:
    answer = await api.post(f"{REQUEST}?sync=true", QUICK)
    body = answer.json()
    assert (answer.status_code, body["status"], body["lane"]) == (200, "succeeded", "interactive")
    assert body["result"]["text"]
    assert answer["Location"] == f"{API}/tasks/{body['task_id']}"
    assert (await api.get(answer["Location"])).json() == body


async def test_sync_gives_a_failed_task_as_it_is(api: Api, worker: Runtime) -> None:
    body = {"messages": [{"role": "user", "content": "[sim:status=402]"}]}
    answer = await api.post(f"{REQUEST}?sync=true", body)
    assert (answer.status_code, answer.json()["status"]) == (200, "failed")
    assert answer.json()["error"]["code"] == "provider_balance"


async def test_sync_past_the_wait_limit_gives_202_and_the_task_goes_on(
    api: Api, worker: Runtime, settings: Settings, alice: User
) -> None:
    settings.SYNC_WAIT_SECONDS = 0.2
    body = {"messages": [{"role": "user", "content": "Slow [sim:latency=0.6,tokens=8]"}]}
    answer = await api.post(f"{REQUEST}?sync=true", body)
    assert (answer.status_code, answer.json()["status"]) == (202, "running")
    assert answer["Retry-After"] == "1"
    assert (await frames_of(answer.json()["task_id"], alice)).types[-1] == "task.completed"


async def test_waiting_is_the_default_where_that_is_set(
    api: Api, worker: Runtime, settings: Settings
) -> None:
    variables = {"variables": {"text": "Something short [sim:tokens=8]"}}
    assert (await api.post(SUMMARIZE, variables)).status_code == 202
    settings.LLM_API_ASYNC_DEFAULT = False
    assert (await api.post(SUMMARIZE, variables)).json()["status"] == "succeeded"
    answer = await api.post(f"{SUMMARIZE}?sync=false", variables)
    assert (answer.status_code, answer.json()["status"]) == (202, "queued")


async def chunks(response: Any) -> AsyncIterator[bytes]:
    async for chunk in response.streaming_content:
        yield chunk


async def test_a_stream_on_which_nothing_happens_is_kept_alive(
    api: Api, worker: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_streams, "SSE_KEEP_ALIVE_SECONDS", 0.1)
    body = {"messages": [{"role": "user", "content": "Slow [sim:latency=0.5,tokens=8]"}]}
    response = await api.post(f"{REQUEST}/stream", body)
    assert response["Content-Type"] == "text/event-stream"
    sent = [chunk async for chunk in chunks(response)]
    assert sent[0].startswith(b"id: 1-1\nevent: task.started\ndata: ")
    assert sent.count(b": keep-alive\n\n") >= 2
    assert b"event: task.completed" in sent[-1]
    assert all(chunk.endswith(b"\n\n") for chunk in sent)


async def test_a_reader_that_hangs_up_leaves_the_task_alone(
    api: Api, worker: Runtime, alice: User
) -> None:
    body = {"messages": [{"role": "user", "content": "Go on [sim:latency=0.3,tokens=8]"}]}
    response = await api.post(f"{REQUEST}/stream", body)
    stream = chunks(response)
    await anext(stream)
    await stream.aclose()  # type: ignore[attr-defined]
    task_id = response["Location"].rsplit("/", 1)[1]
    assert (await frames_of(task_id, alice)).types[-1] == "task.completed"
    assert (await row(task_id)).attempt == 1


async def test_a_stream_after_the_end_is_answered_204_so_that_browsers_stop(
    api: Api, worker: Runtime
) -> None:
    response = await api.post(f"{REQUEST}/stream", QUICK)
    sent = b"".join([chunk async for chunk in chunks(response)])
    events = f"{response['Location']}/events"
    *earlier, last_id = re.findall(rb"^id: (\S+)$", sent, re.MULTILINE)
    # What an EventSource sends when it connects again by itself.
    for given in (last_id.decode(), f"{last_id.decode()}9", "9-1"):
        again = await api.get(events, Last_Event_ID=given)
        assert (again.status_code, again.content) == (204, b"")
        assert (await api.get(f"{events}?after={given}")).status_code == 204
    resumed = await api.get(events, Last_Event_ID=earlier[-1].decode())
    assert resumed.status_code == 200
    assert last_id in b"".join([chunk async for chunk in chunks(resumed)])
    from_the_start = await api.get(events)
    assert last_id in b"".join([chunk async for chunk in chunks(from_the_start)])


async def test_a_task_cancelled_in_the_queue_ends_its_event_source_too(api: Api) -> None:
    task_id = (await api.post(REQUEST, QUICK)).json()["task_id"]
    await api.post(f"{API}/tasks/{task_id}/cancel")
    events = f"{API}/tasks/{task_id}/events"
    response = await api.get(events)
    sent = b"".join([chunk async for chunk in chunks(response)])
    [last_id] = re.findall(rb"^id: (\S+)\nevent: task.cancelled$", sent, re.MULTILINE)
    assert (await api.get(events, Last_Event_ID=last_id.decode())).status_code == 204


async def test_a_stream_that_goes_on_is_no_204(api: Api) -> None:
    task_id = (await api.post(REQUEST, QUICK)).json()["task_id"]
    response = await api.get(f"{API}/tasks/{task_id}/events", Last_Event_ID="1-5")
    assert response.status_code == 200
    response.close()


# --- Repeated -----------------------------------------------------------------------------------
async def test_the_same_key_gives_the_same_task(api: Api, bob_api: Api) -> None:
    first = await api.post(REQUEST, QUICK, Idempotency_Key=KEY)
    again = await api.post(REQUEST, QUICK, Idempotency_Key=f'"{KEY}"')
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json()["task_id"] == again.json()["task_id"]
    other = await bob_api.post(REQUEST, QUICK, Idempotency_Key=KEY)
    assert other.json()["task_id"] != first.json()["task_id"]
    assert await stored() == (2, 0)


async def test_the_same_key_with_another_body_is_refused(api: Api) -> None:
    await api.post(REQUEST, QUICK, Idempotency_Key=KEY)
    answer = await api.post(REQUEST, {**QUICK, "lane": "batch"}, Idempotency_Key=KEY)
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_mismatch")
    assert await stored() == (1, 0)


@pytest.mark.parametrize("key", ["", " ", '""', "x" * 256])
async def test_a_key_that_is_none_is_named(api: Api, key: str) -> None:
    answer = await api.post(REQUEST, QUICK, Idempotency_Key=key)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, "Idempotency-Key")
    assert await stored() == (0, 0)


async def test_many_at_once_with_one_key_make_one_task(api: Api) -> None:
    posts = [api.post(REQUEST, QUICK, Idempotency_Key=KEY) for _ in range(40)]
    answers = await asyncio.gather(*posts)
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["task_id"] for answer in answers}) == 1
    assert await stored() == (1, 0)


async def test_one_bad_task_of_a_batch_harms_no_other(api: Api) -> None:
    bodies = [{**QUICK, "metadata": {"n": n}} for n in range(10)]
    keyed = [api.post(REQUEST, QUICK, Idempotency_Key=KEY) for _ in range(5)]
    plain = [api.post(REQUEST, body) for body in bodies]
    wrong = [api.post(REQUEST, {**QUICK, "model": "gpt-0"}) for _ in range(5)]
    answers = await asyncio.gather(*keyed, *plain, *wrong)
    assert [answer.status_code for answer in answers] == [202] * 15 + [400] * 5
    assert await stored() == (11, 0)


# --- Queries ------------------------------------------------------------------------------------
@pytest.mark.parametrize(("size", "batches"), [(1, 1), (50, 2)])
async def test_submits_that_arrive_together_share_their_queries(
    submit_as_alice: Submit, queries: list[str], size: int, batches: int
) -> None:
    """Two batches may be under way at once. Each asks for scenes, models, weights, limits,
    the depth of the queue and budgets, at the most, and inserts once."""
    await submit_as_alice("Who Alice is comes from the cache from now on")
    queries.clear()
    requests = [
        submit_as_alice(f"Hi {n}", scene="summarize", variables={"text": "x"}) for n in range(size)
    ]
    await asyncio.gather(*requests)
    assert 3 <= len(queries) <= 7 * batches, queries
    assert await stored() == (size + 1, 0)


async def test_a_list_of_tasks_costs_the_same_however_long_it_is(
    api: Api, submit_as_alice: Submit, queries: list[str]
) -> None:
    counts = []
    for n in (1, 30):
        await asyncio.gather(*(submit_as_alice(f"Hi {n}-{i}") for i in range(n)))
        # The key notes its first use of the minute.
        await api.get(f"{API}/tasks")
        queries.clear()
        answer = await api.get(f"{API}/tasks?limit=100")
        assert len(answer.json()["items"]) == (n if n == 1 else 31)
        counts.append(len(queries))
    # The count and the page; who asks is cached.
    assert counts == [2, 2], queries


async def test_a_task_is_read_with_one_query(
    api: Api, submit_as_alice: Submit, queries: list[str]
) -> None:
    task_id = await submit_as_alice("Hi")
    await api.get(f"{API}/tasks/{task_id}")
    queries.clear()
    await api.get(f"{API}/tasks/{task_id}")
    assert len(queries) == 1, queries


async def test_an_id_that_no_task_can_have_is_not_looked_for(api: Api, queries: list[str]) -> None:
    paths = ["tasks/{}", "tasks/{}/events"]
    unknown, impossible = NOBODYS, "01900000-0000-4000-8000-000000000000"
    for path in paths:
        assert (await api.get(f"{API}/{path.format(unknown)}")).status_code == 404
    assert (await api.post(f"{API}/tasks/{unknown}/cancel")).status_code == 404
    queries.clear()
    for path in paths:
        assert (await api.get(f"{API}/{path.format(impossible)}")).status_code == 404
    assert (await api.post(f"{API}/tasks/{impossible}/cancel")).status_code == 404
    assert [sql for sql in queries if "chat_task" in sql] == []
