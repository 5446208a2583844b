"""Access that is taken away ends whatever waits or streams by it at `/v1` and `/mcp`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from django.utils import timezone

from accounts.models import APIKey, User
from aily.database.threads import in_database
from chat.models import LLMModel, Task
from tests.chat.conftest import loop_services as loop_services
from tests.chat.mcp_server.conftest import publish
from tests.chat.mcp_server.rpc import legacy_headers, message, modern_headers, with_meta
from tests.waiting import eventually

SECONDS = 20.0
WORDS = "was revoked, or has expired"
_CALL = {"name": "echo", "arguments": {"text": "I wait for a worker"}}


@pytest.fixture(autouse=True)
def _listens_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is published before this process listens is found out much later."""
    monkeypatch.setattr("aily.web.access_revocation.LISTEN_SECONDS", 20)


def _of_v1(path: str, **fields: Any) -> dict[str, Any]:
    return {"url": f"/v1{path}", "json": fields}


def _requests(secret: str) -> dict[str, dict[str, Any]]:
    """What is asked by all kinds of requests that last until their task has ended."""
    chat = {"model": "deepseek-flash", "messages": [{"role": "user", "content": "x"}]}
    response = {"model": "deepseek-flash", "input": "x"}
    return {
        "chat": _of_v1("/chat/completions", **chat),
        "chat, streamed": _of_v1("/chat/completions", **chat, stream=True),
        "response": _of_v1("/responses", **response),
        "response, streamed": _of_v1("/responses", **response, stream=True),
        "vectors": _of_v1("/embeddings", model="simulated-embeddings", input="x"),
        "tool of MCP": {
            "url": "/mcp",
            "json": message("tools/call", with_meta(_CALL, {}), 1),
            "headers": modern_headers(secret, "tools/call", "echo"),
        },
        "tool of an earlier MCP": {
            "url": "/mcp",
            "json": message("tools/call", _CALL, 2),
            "headers": legacy_headers(secret),
        },
    }


def revoke(key: APIKey) -> None:
    APIKey.objects.filter(pk=key.pk).revoke()


def end_now(key: APIKey) -> None:
    key.expires_at = timezone.now()
    key.save()


def shut_out(key: APIKey) -> None:
    key.owner.is_active = False
    key.owner.save()


@pytest.mark.parametrize("take", [revoke, end_now, shut_out])
async def test_all_that_waits_or_streams_ends(
    server: str,
    alice: User,
    embeddings_model: LLMModel,
    take: Callable[[APIKey], None],
) -> None:
    await in_database(publish, "echo")
    key, secret = await in_database(APIKey.create, alice, "doomed")
    headers = {"Authorization": f"Bearer {secret}"}
    asked = _requests(secret)
    async with httpx.AsyncClient(
        base_url=server.removesuffix("/v1"), headers=headers, timeout=2 * SECONDS
    ) as client:
        waiting = {
            name: asyncio.ensure_future(client.post(**request)) for name, request in asked.items()
        }

        async def are_accepted() -> bool:
            return await in_database(Task.objects.count) == len(asked)

        await eventually(are_accepted)
        await in_database(take, key)
        done, _ = await asyncio.wait(waiting.values(), timeout=SECONDS)
        lasting = [name for name, answer in waiting.items() if answer not in done]
        assert lasting == []
        answers = {name: answer.result() for name, answer in waiting.items()}
        assert [name for name, answer in answers.items() if WORDS not in answer.text] == []
        # A stream that had begun says so in its last event, MCP in an answer of its own.
        assert {answers[name].status_code for name in ("chat", "response", "vectors")} == {401}
    # What was accepted goes on.
    assert await in_database(Task.objects.filter(status="queued").count) == len(asked)
