"""Users over the asynchronous test client, on the same loop as a test's workers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from auditlog.context import disable_auditlog
from django.db import connections
from django.db.backends.utils import CursorWrapper
from django.test import AsyncClient

from accounts.models import APIKey, User
from chat.management.commands.seed_demo import SCENES, seed_scene
from chat.models import LLMModel

API = "/api/llmchat"


class Api:
    """Calls the REST surface with an API key. (Django's AsyncClient drops its default headers.)"""

    def __init__(self, secret: str | None) -> None:
        self._client = AsyncClient()
        self._headers = {"Authorization": f"Bearer {secret}"} if secret else {}

    async def get(self, path: str, **headers: str) -> Any:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self._client.get(path, headers={**self._headers, **given})

    async def post(self, path: str, body: Any = None, **headers: str) -> Any:
        """`body` is a string as it is, or anything else as JSON; `_` in a header stands for `-`."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self._client.post(
            path, body, content_type="application/json", headers={**self._headers, **given}
        )


def api_of(user: User) -> Api:
    with disable_auditlog():
        return Api(APIKey.create(user, "test")[1])


@pytest.fixture
def scenes(model: LLMModel) -> None:
    """Of the demo content `summarize` with `text`, `translate` with `text` and `language`. All of
    it would take longer to make than many a test that needs a scene."""
    with disable_auditlog():
        for slug in ("summarize", "translate"):
            seed_scene(slug, SCENES[slug])


@pytest.fixture
def alice_key(alice: User, model: LLMModel) -> Api:
    return api_of(alice)


@pytest.fixture
def bob_key(bob: User, model: LLMModel) -> Api:
    return api_of(bob)


@pytest.fixture
async def api(alice_key: Api, loop_services: None) -> AsyncIterator[Api]:
    """Alice, with an API key."""
    yield alice_key
    await sync_to_async(connections.close_all)()


@pytest.fixture
async def bob_api(bob_key: Api, loop_services: None) -> AsyncIterator[Api]:
    yield bob_key
    await sync_to_async(connections.close_all)()


@pytest.fixture
def queries(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The SQL that any thread sends from now on."""
    seen: list[str] = []
    for name in ("execute", "executemany"):
        original = getattr(CursorWrapper, name)

        def noted(self: Any, sql: Any, params: Any = None, original: Any = original) -> Any:
            seen.append(str(sql))
            return original(self, sql, params)

        monkeypatch.setattr(CursorWrapper, name, noted)
    return seen
