"""Made-up ids are refused without a query, however many different ones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from datetime import UTC, datetime, timedelta
from itertools import cycle
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.apps import apps

from accounts.access.keys import KEY_IDS
from accounts.models import APIKey, User
from aily.cache import Cached
from aily.database.threads import in_database
from aily.routing import routes as application
from chat.models import Conversation, LLMModel, Scene, Task, WebhookEndpoint, ids
from chat.models.ids import IdKey, first_id, make_id_key, uuid7
from chat.services.catalog import SLUGS
from chat.services.webhooks import ENDPOINT_IDS
from tests.chat.api.conftest import API, Api
from tests.chat.api.conftest import alice_key as alice_key
from tests.chat.api.conftest import api as api
from tests.chat.api.conftest import queries as queries
from tests.communicators import WebsocketCommunicator

CACHES: list[Cached[int, Any]] = [known._cached for known in (KEY_IDS, ENDPOINT_IDS, SLUGS)]
Ask = Callable[[UUID], Coroutine[Any, Any, int]]


@pytest.fixture
async def socket(alice: User, api: Api) -> AsyncIterator[WebsocketCommunicator]:
    _, secret = await in_database(APIKey.create, alice, "socket")
    headers = [(b"authorization", f"Bearer {secret}".encode())]
    socket = WebsocketCommunicator(application, "/ws/llmchat/", headers)
    await socket.connect()
    assert (await socket.receive_json_from())["type"] == "hello"
    yield socket
    await socket.disconnect()


def made_up() -> Iterator[UUID]:
    """As `uuid7` would have made them just now, a while ago, and tomorrow."""
    for days in cycle((0, 0, -1, -400, 1)):
        at = datetime.now(UTC) + timedelta(days=days)
        yield UUID(int=first_id(at).int | uuid7().int & (1 << 80) - 1)


async def status_of(answer: Coroutine[Any, Any, Any]) -> int:
    return int((await answer).status_code)


def rest_asks(api: Api) -> list[Ask]:
    """Every way to name a task or conversation over REST, each giving the status."""
    question = {"messages": [{"role": "user", "content": "?"}]}
    return [
        lambda made_up_id: status_of(api.get(f"{API}/tasks/{made_up_id}")),
        lambda made_up_id: status_of(api.get(f"{API}/tasks/{made_up_id}/events")),
        lambda made_up_id: status_of(api.post(f"{API}/tasks/{made_up_id}/cancel")),
        lambda made_up_id: status_of(api.get(f"/api/conversations/{made_up_id}")),
        lambda made_up_id: status_of(api.get(f"/api/conversations/{made_up_id}/messages")),
        lambda made_up_id: status_of(
            api.post(f"{API}/request", {**question, "conversation_id": str(made_up_id)})
        ),
    ]


async def ask_by_rest(api: Api, number: int) -> None:
    """Made-up ids of all kinds, all different."""
    for ask, made_up_id in zip(cycle(rest_asks(api)[:-1]), made_up(), strict=False):
        assert await ask(made_up_id) == 404
        if not (number := number - 1):
            return


async def ask_by_socket(socket: WebsocketCommunicator, number: int) -> None:
    """In bursts of a hundred frames."""
    kinds = cycle(("task.subscribe", "task.cancel"))
    for _ in range(number // 100):
        for kind, made_up_id, _ in zip(kinds, made_up(), range(100), strict=False):
            await socket.send_json_to({"type": kind, "task_id": str(made_up_id)})
        answers = [await socket.receive_json_from() for _ in range(100)]
        assert {answer["error"]["code"] for answer in answers} == {"not_found"}


async def count_lookups(
    api: Api, socket: WebsocketCommunicator, queries: list[str], by_rest: int, by_socket: int
) -> int:
    await ask_by_rest(api, 5)
    queries.clear()
    await ask_by_rest(api, by_rest)
    await ask_by_socket(socket, by_socket)
    return len(queries)


async def test_made_up_ids_cost_hardly_a_query(
    api: Api, socket: WebsocketCommunicator, queries: list[str]
) -> None:
    assert await count_lookups(api, socket, queries, 200, 1_800) < 20


@pytest.mark.slow
async def test_a_hundred_thousand_made_up_ids_cost_under_1000_queries(
    api: Api, socket: WebsocketCommunicator, queries: list[str]
) -> None:
    assert await count_lookups(api, socket, queries, 10_000, 90_000) < 1_000


async def test_names_and_numbers_that_were_made_up_cost_hardly_a_query(
    api: Api, alice: User, queries: list[str]
) -> None:
    """What has neither: an owner's few ids, and all slugs, are known as a whole."""
    paths = (
        "/api/keys/{n}",
        "/api/webhooks/{n}",
        "/api/webhooks/{n}/deliveries",
        "/api/webhooks/{n}/deliveries/{id}",
        "/api/conversations/{id}/messages/{id}",
        "/api/scenes/s{n}",
    )
    uuids = made_up()
    for n in range(300):
        path = paths[n % len(paths)].format(n=10**9 + n, id=next(uuids))
        assert await status_of(api.get(path)) == 404, path
    # One for each list of what there is; and the key's use, once.
    assert len(queries) < 20, queries


@pytest.mark.parametrize("kind", ["keys", "webhooks", "scenes"])
async def test_what_has_just_been_made_or_renamed_is_there_in_every_process(
    api: Api, alice: User, kind: str
) -> None:
    makers: dict[str, Callable[[], str]] = {
        "keys": lambda: str(APIKey.create(alice, "new")[0].pk),
        "webhooks": lambda: str(
            WebhookEndpoint.objects.create(owner=alice, url="https://x.example").pk
        ),
        "scenes": lambda: Scene.objects.create(slug="new", title="New").slug,
    }

    async def is_known(name: str) -> bool:
        known: dict[str, Callable[[], bool]] = {
            "keys": lambda: KEY_IDS.may_exist(int(name), alice.pk),
            "webhooks": lambda: ENDPOINT_IDS.may_exist(int(name), alice.pk),
            "scenes": lambda: SLUGS.may_exist(name),
        }
        return await in_database(known[kind])

    assert not await is_known("0")
    stale = [dict(cached._local) for cached in CACHES]
    name = await in_database(makers[kind])
    for cached, copies in zip(CACHES, stale, strict=True):
        # As in another process, which has got no notice of it.
        cached._local.update(copies)
    assert await is_known(name)


async def test_a_conversation_that_was_made_up_is_not_looked_for(
    api: Api, queries: list[str]
) -> None:
    *_, submit = rest_asks(api)
    assert await submit(next(made_up())) == 404
    assert not [sql for sql in queries if "chat_message" in sql or "chat_conversation" in sql]


@pytest.mark.parametrize("days", [-1, 1])
async def test_ids_from_before_there_were_tags_are_found_and_later_ones_must_have_one(
    alice: User, model: LLMModel, api: Api, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    """The rows have ids without tags. `days` from now is when tags began."""
    old = Task(id=uuid7(), owner=alice, model=model, messages=[])
    talk = Conversation(id=uuid7(), owner=alice)
    key = await in_database(IdKey.objects.get)
    changed = IdKey(pk=key.pk, key=key.key, tagged_since=datetime.now(UTC) + timedelta(days=days))
    # What another process would read at its start.
    monkeypatch.setattr(ids, "_tagger", None)
    try:
        for row in (old, talk, changed):
            await in_database(row.save)
        statuses = [
            await status_of(api.get(f"{API}/tasks/{old.pk}")),
            await status_of(api.get(f"/api/conversations/{talk.pk}")),
        ]
    finally:
        await in_database(key.save)
    assert statuses == ([200, 200] if days > 0 else [404, 404])


async def test_ids_of_other_kinds_are_no_ids(api: Api, queries: list[str]) -> None:
    get_task, *_ = rest_asks(api)
    assert await get_task(uuid4()) == 404
    assert not [sql for sql in queries if "chat_task" in sql]


async def test_many_at_once_in_a_new_process_are_all_refused(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ids, "_tagger", None)
    get_task, follow_task, *_ = rest_asks(api)
    asks = zip(cycle((get_task, follow_task)), made_up(), range(20), strict=False)
    assert set(await asyncio.gather(*(ask(made_up_id) for ask, made_up_id, _ in asks))) == {404}


@pytest.mark.parametrize("is_upgrade", [False, True])
def test_a_key_is_made_once_and_an_upgrade_leaves_old_processes_a_day(
    db: None, is_upgrade: bool
) -> None:
    IdKey.objects.all().delete()
    if is_upgrade:
        User.objects.create_user("somebody")
    # Twice, as `migrate` is run with each deployment.
    for _ in range(2):
        make_id_key(apps)
    key = IdKey.objects.get()
    assert (key.tagged_since > datetime.now(UTC)) is is_upgrade
    assert len(key.key) == 16
