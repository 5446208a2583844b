"""How large what one sends, keeps and is sent may be."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone
from pytest_django import Settings

from accounts.models import APIKey, MenuItem, User
from aily.database.threads import in_database
from aily.rest import pages
from aily.routing import routes
from aily.web.connections import connections
from chat.exceptions import InvalidTemplate
from chat.models import Conversation, LLMModel, Message, Scene, SceneVersion, Task
from chat.services.scenes import create_version
from tests.chat.api.conftest import API, Api
from tests.chat.conftest import Submit
from tests.communicators import HttpCommunicator

REQUEST = f"{API}/request"
MIB = 1_048_576


async def test_a_list_has_no_texts_and_a_task_has_them(
    api: Api, submit_as_alice: Submit, model: LLMModel
) -> None:
    ids = [await submit_as_alice(f"Hi {n}", metadata={"n": n}) for n in range(3)]
    large = {"text": "x" * MIB, "reasoning": "", "tool_calls": [{"arguments": "y" * MIB}]}
    await in_database(Task.objects.filter(pk__in=ids).update, status="succeeded", **large)
    # As it could be before there was a bound.
    old = {"old": "z" * MIB, "random": [str(uuid4()) for _ in range(5_000)]}
    await in_database(Task.objects.filter(pk=ids[0]).update, metadata=old)
    answer = await api.get(f"{API}/tasks?limit=100")
    assert len(answer.content) < 10_000
    newest, _, oldest = answer.json()["items"]
    assert (newest["metadata"], oldest["metadata"]) == ({"n": 2}, {})
    assert (newest["has_text"], newest["has_reasoning"]) == (True, False)
    assert "result" not in newest
    task = (await api.get(f"{API}/tasks/{ids[0]}")).json()
    assert (task["result"]["text"], task["metadata"]) == (large["text"], old)


@pytest.mark.parametrize(
    "metadata", [{"a": "x" * 16_384}, {"a": ["é"] * 6_000}, {"a": [1e300] * 60}, {"a": 10**300 * 1}]
)
async def test_metadata_has_a_bound_in_bytes(
    api: Api, model: LLMModel, metadata: dict[str, Any]
) -> None:
    body = {"messages": [{"role": "user", "content": "Hi"}], "metadata": metadata}
    answer = await api.post(REQUEST, body)
    if metadata == {"a": 10**300}:
        assert answer.status_code == 202
        return
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "metadata"
    assert not await in_database(Task.objects.exists)


async def test_parameters_have_a_bound_in_bytes(
    api: Api, model: LLMModel, settings: Settings
) -> None:
    settings.PARAMETERS_MAX_BYTES = 5_000
    tools = [{"type": "function", "function": {"name": "f", "description": "x" * 6_000}}]
    body = {"messages": [{"role": "user", "content": "Hi"}], "tools": tools}
    answer = await api.post(REQUEST, body)
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


@pytest.mark.parametrize(
    ("header", "status"),
    [("0-1", 200), ("9" * 5_000, 400), ("1-\x85", 400), ("\xff", 400), ("1-2-3", 400), ("-", 400)],
)
async def test_a_last_event_id_is_one_or_refused(
    api: Api, submit_as_alice: Submit, header: str, status: int
) -> None:
    task_id = await submit_as_alice("Hi")
    answer = await api.get(f"{API}/tasks/{task_id}/events", Last_Event_ID=header)
    assert answer.status_code == status
    if status == 400:
        assert answer.json()["errors"][0]["field"] == "Last-Event-ID"


async def test_an_event_is_one_line_for_every_reader(
    api: Api, submit_as_alice: Submit, alice: User
) -> None:
    text = "one\u2028two\u2029three\x85four"
    task_id = await submit_as_alice("Hi")
    ended = {"status": "succeeded", "text": text, "attempt": 1, "last_event": 3}
    ago = timezone.now() - timedelta(hours=1)
    await in_database(Task.objects.filter(pk=task_id).update, finished_at=ago, **ended)
    response = await api.get(f"{API}/tasks/{task_id}/events")
    [event] = [chunk async for chunk in response.streaming_content]
    lines: list[str] = event.decode().splitlines()
    data, end = lines[-2:]
    assert end == ""
    assert json.loads(data.removeprefix("data: "))["result"]["text"] == text


async def test_a_page_of_long_messages_is_shorter_and_the_next_one_goes_on(
    api: Api, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "PAGE_BYTES", 10_000)

    def make() -> Conversation:
        conversation = Conversation.objects.create(owner=alice)
        for size in (4_000, 4_000, 4_000, 20_000, 10):
            # Twice as many bytes.
            Message.objects.create(
                conversation=conversation, role="user", content="é" * (size // 2)
            )
        return conversation

    conversation = await in_database(make)
    path = f"/api/conversations/{conversation.pk}/messages?limit=100&offset="
    sizes, offset = [], 0
    while items := (await api.get(f"{path}{offset}")).json()["items"]:
        sizes.append([len(item["content"]) * 2 for item in items])
        offset += len(items)
    assert sizes == [[4_000, 4_000], [4_000], [20_000], [10]]


async def unread(scope: Any, receive: Any, send: Any) -> None:
    """The application before a client that takes the first event and no more."""

    async def send_until_event(message: Any) -> None:
        await send(message)
        if message.get("body"):
            await asyncio.Event().wait()

    await routes(scope, receive, send_until_event)


class Stream(HttpCommunicator):
    """A task's events, as a web server has them of the application."""

    def __init__(self, application: Any, path: str, secret: str) -> None:
        key = (b"authorization", f"Bearer {secret}".encode())
        super().__init__(application, "GET", path, headers=[(b"host", b"127.0.0.1"), key])

    async def begin(self) -> None:
        await self.send_input({"type": "http.request", "body": b""})
        assert (await self.receive_output())["status"] == 200
        assert (await self.receive_output())["body"]

    async def close(self) -> None:
        await self.send_input({"type": "http.disconnect"})
        await self.wait(10)


@pytest.mark.parametrize("application", [routes, unread], ids=["read", "unread"])
async def test_a_user_has_so_many_connections(
    api: Api, alice: User, submit_as_alice: Submit, settings: Settings, application: Any
) -> None:
    settings.MAX_CONNECTIONS_PER_USER = 2
    task_id = await submit_as_alice("Hi")
    path = f"{API}/tasks/{task_id}/events"
    _, secret = await in_database(APIKey.create, alice, "streams")
    streams = [Stream(application, path, secret) for _ in range(3)]
    for stream in streams[:2]:
        await stream.begin()
    before = await in_database(Task.objects.count)
    body = {"messages": [{"role": "user", "content": "Hi"}]}
    for answer in (await api.get(path), await api.post(f"{REQUEST}/stream", body)):
        assert (answer.status_code, answer.json()["code"]) == (429, "limit_reached")
        assert answer.json()["limit"] == {"name": "max_connections", "value": 2}
    assert await in_database(Task.objects.count) == before
    await streams[1].close()
    # The place is free when the application is done with the one, not some time after it.
    with connections().opened(alice.pk):
        pass
    await streams[2].begin()
    for stream in (streams[0], streams[2]):
        await stream.close()


async def test_connections_of_the_same_moment_are_counted(
    api: Api, submit_as_alice: Submit, settings: Settings
) -> None:
    settings.MAX_CONNECTIONS_PER_USER = 2
    path = f"{API}/tasks/{await submit_as_alice('Hi')}/events"
    body = {"messages": [{"role": "user", "content": "Hi"}]}
    answers = await asyncio.gather(*(api.get(path) for _ in range(3)))
    assert sorted(answer.status_code for answer in answers) == [200, 200, 429]
    for answer in answers:
        answer.close()
    # The clients read no answer, and a refused request takes none of their connections.
    assert (await api.get(f"{API}/tasks/{uuid4()}/events")).status_code == 404
    for _ in range(3):
        assert (await api.post(f"{REQUEST}/stream", {**body, "model": "none"})).status_code == 400
    answers = await asyncio.gather(*(api.get(path) for _ in range(2)))
    assert [answer.status_code for answer in answers] == [200, 200]
    for answer in answers:
        answer.close()


@pytest.mark.parametrize(
    ("row", "field"),
    [
        (Scene(slug="x", title="x", description="x" * 17_000), "description"),
        (LLMModel(name="x", params={"stop": ["x" * 66_000]}), "params"),
        (MenuItem(label="x", translations={"de": "x" * 101}), "translations"),
    ],
)
def test_what_staff_keep_has_a_bound(transactional_db: None, row: Any, field: str) -> None:
    with pytest.raises(ValidationError) as refused:
        row.full_clean(exclude=["provider"])
    assert list(refused.value.message_dict) == [field]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("notes", "x" * 17_000),
        ("params", {"stop": ["x" * 66_000]}),
        ("fallback_models", ["x" * 17_000]),
    ],
)
def test_what_a_version_keeps_has_a_bound(transactional_db: None, field: str, value: Any) -> None:
    scene = Scene.objects.create(slug="x", title="x")
    with pytest.raises(InvalidTemplate, match="bytes at most") as refused:
        create_version(scene, None, {"user_template": "x", field: value})
    assert refused.value.field == field
    assert not SceneVersion.objects.exists()
