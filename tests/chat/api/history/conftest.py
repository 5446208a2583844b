"""A conversation, and what the provider is sent of it: each prompt is checked by strict rules."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from accounts.models import User
from aily.database.threads import in_database
from chat.llm.simulator.server import Simulator
from chat.models import Conversation, LLMModel, Message
from chat.runner.runtime import Runtime
from tests.chat.api.conftest import API, Api

REQUEST = f"{API}/request"
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
ASKED = {"role": "user", "content": "How is it?"}
#: Asks and waits for the end; gives the task as REST shows it.
Ask = Callable[..., Awaitable[Any]]


@pytest.fixture
def conversation(alice: User, model: LLMModel) -> Conversation:
    return Conversation.objects.create(owner=alice)


@pytest.fixture
def sent(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The messages of each request that came to the provider; each is checked by strict rules."""
    requests: list[Any] = []
    answer = simulator._answer

    async def noted(request: Any, body: Any) -> Any:
        requests.append(body["messages"])
        return await answer(request, body)

    monkeypatch.setattr(simulator, "_answer", noted)
    return requests


@pytest.fixture
def ask(api: Api, conversation: Conversation, worker: Runtime, sent: list[Any]) -> Ask:
    async def ask_and_wait(content: Any, **fields: Any) -> Any:
        messages = content
        if isinstance(content, str):
            messages = [{"role": "user", "content": content}]
        body = {"messages": messages, "conversation_id": str(conversation.pk), **fields}
        before = len(sent)
        response = await api.post(f"{REQUEST}?sync=true", body)
        for messages in sent[before:]:
            assert_strict(messages)
        return response.json()

    return ask_and_wait


def assert_strict(messages: Sequence[Any]) -> None:
    """The rules of the strictest: instructions first, then the user, in turns, no turn empty, and
    each tool call followed by its results."""
    roles = [message["role"] for message in messages]
    instructions = sum(role == "system" for role in roles)
    assert roles[:instructions] == ["system"] * instructions
    assert instructions <= 1
    awaited: list[str] = []
    before = "assistant"
    for message in messages[instructions:]:
        role = message["role"]
        calls = message.get("tool_calls") or []
        assert message.get("content") or calls or role == "tool"
        for call in calls:
            assert call.keys() == {"id", "type", "function"}
            assert (call["type"], call["function"].keys()) == ("function", {"name", "arguments"})
            json.loads(call["function"]["arguments"])
        if role == "tool":
            awaited.remove(message["tool_call_id"])
        else:
            assert not awaited
            assert role == {"assistant": "user", "user": "assistant", "tool": "assistant"}[before]
        awaited += [call["id"] for call in calls]
        before = role
    assert not awaited
    assert before in ("user", "tool")


def texts(messages: Sequence[Any]) -> list[Any]:
    return [message["content"] for message in messages]


async def stored(conversation: Conversation) -> list[tuple[str, str]]:
    messages = Message.objects.filter(conversation=conversation).values_list("role", "content")
    return await in_database(lambda: list(messages))


async def called(ask: Ask, question: str = "How is it? [sim:tool]") -> Any:
    task = await ask(question, tools=[WEATHER])
    assert task["result"]["finish_reason"] == "tool_calls"
    return task


def results_of(task: Any, content: str = "Sunny") -> list[Any]:
    calls = task["result"]["tool_calls"]
    return [{"role": "tool", "tool_call_id": call["id"], "content": content} for call in calls]
