"""Filling the cache, and what a burst of reconnects costs after that."""

from __future__ import annotations

import asyncio
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from accounts.authentication import identify_key
from accounts.menus import menu_of
from accounts.models import APIKey, MenuItem, Role, User
from accounts.permissions import permissions_of
from aily.cache import forget_copies, store
from aily.database import in_database
from tests.chat.api.conftest import queries as queries

#: The burst has ten reconnects for each.
USERS = 300


@pytest.fixture
def secrets(transactional_db: None) -> list[str]:
    role = Role.objects.create(name="everybody")
    MenuItem.objects.create(label="Tasks", is_restricted=True)
    users = User.objects.bulk_create([User(username=f"u{n}") for n in range(USERS)])
    User.groups.through.objects.bulk_create(
        [User.groups.through(user=user, group=role) for user in users]
    )
    names = [f"aily_{n:043}" for n in range(USERS)]
    APIKey.objects.bulk_create(
        [
            APIKey(owner=user, name="k", prefix=name[:12], digest=APIKey.digest_of(name))
            for user, name in zip(users, names, strict=True)
        ]
    )
    return names


def warm(*args: str) -> str:
    output = StringIO()
    call_command("warm_cache", *args, stdout=output, stderr=output)
    return output.getvalue()


async def reconnect(secret: str) -> None:
    """What a page needs when its socket is back: who it is, what it may, and the menu."""
    identity = await identify_key(secret)
    assert identity is not None
    permissions = await in_database(permissions_of, identity.user)
    await in_database(menu_of, permissions, "en")


async def test_a_burst_of_reconnects_on_a_warm_cache_hardly_asks_the_database(
    secrets: list[str], queries: list[str]
) -> None:
    await in_database(warm)
    forget_copies()
    queries.clear()
    await asyncio.gather(*(reconnect(secret) for secret in secrets * 10))
    # That keys are in use is noted, in batches; nothing else is asked.
    asked = [sql for sql in queries if "last_used_at" not in sql]
    assert len(asked) == 0, asked
    assert len(queries) < 20


def test_it_says_what_it_put_in_and_may_be_run_again(secrets: list[str]) -> None:
    for _ in range(2):
        told = warm()
        assert "menus: 1 values" in told
        assert f"permissions: {USERS + 1} values" in told
        assert f"keys: {USERS} values" in told
    assert "keys" not in warm("--only", "menus,permissions")
    with pytest.raises(CommandError, match="'scenes'"):
        warm("--only", "scenes")


def test_a_cache_that_is_away_is_no_reason_to_fail(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool: Any = store.client().connection_pool
    monkeypatch.setattr(pool.circuit, "_is_open", True)
    monkeypatch.setattr(pool.circuit, "_next_probe", float("inf"))
    assert "away" in warm()
