"""A burst of clients that come back, by key and by session, and what it costs PostgreSQL."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Mapping
from threading import Lock
from typing import Any

import pytest
from django.core.management import call_command
from django.test import AsyncClient, Client

from accounts.access.grants import ROLES, USERS
from accounts.access.keys import KEYS
from accounts.access.menus import MENU
from accounts.models import APIKey, MenuItem, Role, User
from aily.cache import Cached, forget_copies, store
from aily.database.threads import in_database
from aily.routing import routes as application
from tests.chat.api.conftest import queries as queries
from tests.communicators import WebsocketCommunicator

#: How each of the users comes back: the headers of a handshake, or of a request.
Credentials = dict[str, str]

#: Sockets that are opened at the same moment.
AT_ONCE = 500


def make_users(number: int) -> list[Credentials]:
    """Every other one has a key, the others a session."""
    role = Role.objects.create(name="everybody")
    MenuItem.objects.create(label="Tasks", is_restricted=True)
    users = User.objects.bulk_create([User(username=f"u{n}") for n in range(number)])
    membership = User.groups.through
    membership.objects.bulk_create([membership(user=user, group=role) for user in users])
    return [*map(_with_key, users[::2]), *map(_with_session, users[1::2])]


def _with_key(user: User) -> Credentials:
    return {"Authorization": f"Bearer {APIKey.create(user, 'k')[1]}"}


def _with_session(user: User) -> Credentials:
    client = Client()
    client.force_login(user)
    return {"Cookie": f"sessionid={client.session.session_key}"}


async def reconnect(credentials: Credentials) -> None:
    """A socket is opened, and the page asks who it is, what it may, and for the menu."""
    given = {**credentials, "Host": "testserver", "Origin": "http://testserver"}
    headers = [(name.lower().encode(), value.encode()) for name, value in given.items()]
    socket = WebsocketCommunicator(application, "/ws/llmchat/", headers)
    await socket.connect(timeout=60)
    assert (await socket.receive_json_from(timeout=60))["type"] == "hello"
    client = AsyncClient()
    client.cookies.load(credentials.get("Cookie", ""))
    key = credentials.get("Authorization")
    me = await client.get("/api/me", headers={"Authorization": key} if key else None)
    assert me.status_code == 200
    await socket.disconnect(timeout=60)


async def burst(everybody: list[Credentials], times: int) -> None:
    comers = everybody * times
    for start in range(0, len(comers), AT_ONCE):
        await asyncio.gather(*map(reconnect, comers[start : start + AT_ONCE]))


@pytest.mark.parametrize(
    ("users", "times"), [(40, 3), pytest.param(1_000, 10, marks=pytest.mark.slow)]
)
async def test_a_burst_on_a_warm_cache_hardly_asks_the_database(
    transactional_db: None, loop_services: None, queries: list[str], users: int, times: int
) -> None:
    everybody = await in_database(make_users, users)
    await in_database(call_command, "warm_cache", verbosity=0)
    forget_copies()
    queries.clear()
    await burst(everybody, times)
    # That a key is in use is noted, once a minute and in batches; nothing else is asked.
    assert [sql for sql in queries if "last_used_at" not in sql] == []


class Watch:
    """Wraps what builds the values of a keyspace."""

    def __init__(self, cached: Cached[Any, Any]) -> None:
        self._load = cached._load
        self._lock = Lock()
        self.under_way: set[Any] = set()
        self.built: Counter[Any] = Counter()
        self.twice_at_once: set[Any] = set()

    def __call__(self, keys: Collection[Any]) -> Mapping[Any, Any]:
        with self._lock:
            self.twice_at_once |= self.under_way & set(keys)
            self.under_way |= set(keys)
            self.built.update(keys)
        try:
            return self._load(keys)
        finally:
            with self._lock:
                self.under_way -= set(keys)


@pytest.mark.parametrize(
    ("users", "times"), [(40, 3), pytest.param(1_000, 10, marks=pytest.mark.slow)]
)
async def test_a_burst_on_a_cold_cache_builds_each_key_once(
    transactional_db: None,
    loop_services: None,
    monkeypatch: pytest.MonkeyPatch,
    users: int,
    times: int,
) -> None:
    everybody = await in_database(make_users, users)
    store.client().flushdb()
    forget_copies()
    watches = [Watch(cached) for cached in (KEYS, USERS, ROLES, MENU)]
    for cached, watch in zip((KEYS, USERS, ROLES, MENU), watches, strict=True):
        monkeypatch.setattr(cached, "_load", watch)
    await burst(everybody, times)
    assert [watch.twice_at_once for watch in watches] == [set()] * 4
    assert [len(watch.built) for watch in watches] == [users // 2, users, 1, 1]
    assert {times for watch in watches for times in watch.built.values()} == {1}
