"""Filling the cache, and saying so."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from accounts.models import APIKey, MenuItem, Role, User
from aily.cache import store

USERS = 30


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


def test_it_says_what_it_put_in_and_may_be_run_again(secrets: list[str]) -> None:
    for _ in range(2):
        told = warm()
        assert "menus: 1 values" in told
        assert f"permissions: {USERS + 1} values" in told
        assert f"keys: {USERS} values" in told
        # No scene, and the list of the models, which is empty.
        assert "scenes: 1 values" in told
    assert "keys" not in warm("--only", "menus,permissions,scenes")
    with pytest.raises(CommandError, match="'tasks'"):
        warm("--only", "scenes,tasks")


def test_a_cache_that_is_away_is_said_in_one_sentence(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool: Any = store.client().connection_pool
    monkeypatch.setattr(pool.circuit, "_is_open", True)
    monkeypatch.setattr(pool.circuit, "_next_probe", float("inf"))
    with pytest.raises(CommandError, match=r"The cache cannot be used \(CACHE_URL\)") as refused:
        warm()
    assert refused.value.returncode == 2
