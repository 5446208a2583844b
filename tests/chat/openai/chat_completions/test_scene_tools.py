"""Chat completions of a scene whose tools aily calls: unseen, within one answer."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from accounts.models import User
from aily.database.threads import in_database
from chat.models import ToolCall
from chat.runner.runtime import Runtime
from chat.services.tool_approvals import approve, reject
from tests.chat.conftest import eventually
from tests.chat.toolloop.conftest import service as service
from tests.chat.toolloop.service import ToolService

OWN = {"type": "function", "function": {"name": "own", "parameters": {"type": "object"}}}
FORMS = pytest.mark.parametrize("stream", [False, True])


async def complete(client: httpx.AsyncClient, plan: str, **fields: Any) -> Any:
    """The answer, whole: text, reason of its end, calls for the caller, and usage."""
    body = {"model": "scene:office", "variables": {"text": f"[sim:tools={plan}]"}, **fields}
    body = {"messages": [{"role": "user", "content": "Go"}], **body}
    if body.get("stream"):
        body["stream_options"] = {"include_usage": True}
    answer = await client.post("/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    if not body.get("stream"):
        [choice] = answer.json()["choices"]
        message = choice["message"]
        calls = [call["function"]["name"] for call in message.get("tool_calls") or []]
        return message["content"], choice["finish_reason"], calls, answer.json()["usage"]
    events = [line.removeprefix("data: ") for line in answer.text.splitlines() if line]
    assert events.pop() == "[DONE]"
    chunks = [json.loads(event) for event in events if not event.startswith(":")]
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    text = "".join(choice["delta"].get("content") or "" for choice in choices)
    calls = [
        call["function"]["name"]
        for choice in choices
        for call in choice["delta"].get("tool_calls") or []
        if call["function"].get("name")
    ]
    reasons = [choice["finish_reason"] for choice in choices if choice["finish_reason"]]
    assert len(reasons) == 1
    return text, reasons[0], calls, chunks[-1]["usage"]


@FORMS
async def test_tools_of_the_scene_are_called_within_one_answer(
    client: httpx.AsyncClient, service: ToolService, worker: Runtime, stream: bool
) -> None:
    plan = 'add {"a": 1} | again {"a": 2} ; again {"a": 3}'
    text, reason, calls, usage = await complete(client, plan, stream=stream)
    assert '"a": 3' in text
    assert (reason, calls) == ("stop", [])
    assert service.begun == {"add": 1, "again": 2}
    # Of three turns.
    assert usage["prompt_tokens"] > 3 * usage["completion_tokens"] / 4 > 0


@FORMS
async def test_functions_of_the_callers_own_are_given_back(
    client: httpx.AsyncClient, service: ToolService, worker: Runtime, stream: bool
) -> None:
    plan = 'add {"a": 1} ; own {} | add {"a": 2}'
    _, reason, calls, _ = await complete(client, plan, tools=[OWN], stream=stream)
    assert (reason, calls) == ("tool_calls", ["own", "add"])
    assert service.begun == {"add": 1}


@FORMS
@pytest.mark.parametrize("is_approved", [True, False])
async def test_an_answer_waits_for_the_approval_that_is_given_elsewhere(
    client: httpx.AsyncClient,
    service: ToolService,
    worker: Runtime,
    alice: User,
    stream: bool,
    is_approved: bool,
) -> None:
    asking = asyncio.create_task(complete(client, 'ask {"a": 1}', stream=stream))
    waiting = ToolCall.objects.filter(state="requires_action")

    async def is_asked() -> ToolCall | None:
        return await in_database(waiting.first)

    call = await eventually(is_asked)
    assert call is not None
    decide = approve if is_approved else reject
    await decide(alice.pk, call.task_id, call.pk)
    text, reason, calls, _ = await asking
    assert (reason, calls) == ("stop", [])
    assert service.begun == ({"ask": 1} if is_approved else {})
    assert ("rejected this call" in text) is not is_approved
