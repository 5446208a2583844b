"""Budgets over REST: from a refusal to the usage of a call that really ran."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from decimal import Decimal
from typing import Any

from accounts.models import APIKey, User
from aily.database.threads import in_database
from aily.routing import routes as application
from chat import settlement
from chat.models import Budget, LLMModel, Task
from chat.runner.runtime import Runtime
from chat.services.follow import follow
from tests.chat.api.conftest import API, Api
from tests.communicators import WebsocketCommunicator

REQUEST = f"{API}/request"
PROMPT: dict[str, Any] = {"messages": [{"role": "user", "content": "Hi [sim:tokens=8]"}]}


async def test_a_refusal_says_which_budget_and_when_to_come_back(api: Api, alice: User) -> None:
    await in_database(
        Budget.objects.create, name="pocket money", user=alice, period="day", limit_calls=1
    )
    first = await api.post(REQUEST, PROMPT)
    assert first.status_code == 202
    refused = await api.post(REQUEST, PROMPT)
    assert refused.status_code == 429
    assert refused["Content-Type"] == "application/problem+json"
    body = refused.json()
    assert body["code"] == "budget_exceeded"
    assert "pocket money" in body["detail"]
    assert (body["budget"]["left"], body["budget"]["limit"]) == ("0", "1")
    assert int(refused["Retry-After"]) > 0
    assert await in_database(Task.objects.count) == 1


async def test_a_keys_budget_is_charged_for_the_call_that_the_key_made(
    api: Api, alice: User, model: LLMModel, worker: Runtime
) -> None:
    await in_database(LLMModel.objects.filter(pk=model.pk).update, input_price=1, output_price=2)
    key = await in_database(alice.api_keys.get)
    await in_database(
        Budget.objects.create, name="program", api_key=key, period="day", limit_money=1
    )
    answer = (await api.post(f"{REQUEST}?sync=true", PROMPT)).json()
    assert answer["status"] == "succeeded"
    await in_database(settlement.settle_ended_tasks)
    used = answer["usage"]
    cost = Decimal(used["prompt_tokens"] + 2 * used["completion_tokens"]) / 1_000_000
    [budget] = (await api.get("/api/budgets")).json()["items"]
    assert Decimal(budget["money"]["spent"]) == cost > 0
    assert Decimal(budget["money"]["reserved"]) == 0
    [item] = (await api.get("/api/usage?group_by=model")).json()["items"]
    assert (item["key"], item["tasks"], item["estimated"]) == ("deepseek-flash", 1, 0)
    assert item["completion_tokens"] == used["completion_tokens"]
    assert Decimal(item["money"]) == cost


async def test_a_cancelled_calls_partial_answer_is_charged(
    api: Api, alice: User, worker: Runtime
) -> None:
    prompt = {"messages": [{"role": "user", "content": "Hi [sim:tokens=1000,tps=50]"}]}
    await in_database(
        Budget.objects.create, name="tokens", user=alice, period="total", limit_tokens=100_000
    )
    task_id = (await api.post(REQUEST, prompt)).json()["task_id"]
    async with asyncio.timeout(20), aclosing(follow(task_id, alice.pk)) as followed:
        async for event in followed:
            if event.type == "task.delta":
                break
    cancelled = (await api.post(f"{API}/tasks/{task_id}/cancel")).json()
    assert cancelled["result"]["text"] + cancelled["result"]["reasoning"]
    assert (await in_database(settlement.settle_ended_tasks)).tasks == 1
    [budget] = (await api.get("/api/budgets")).json()["items"]
    spent = Decimal(budget["tokens"]["spent"])
    assert 0 < spent < 10_000
    assert Decimal(budget["tokens"]["reserved"]) == 0
    assert budget["calls"]["spent"] == "1"
    [item] = (await api.get("/api/usage")).json()["items"]
    assert item["estimated"] == 1
    assert item["prompt_tokens"] + item["completion_tokens"] == spent


async def test_a_socket_is_told_as_well_and_its_key_is_the_one_that_counts(
    api: Api, alice: User
) -> None:
    key, secret = await in_database(APIKey.create, alice, "socket")
    await in_database(
        Budget.objects.create, name="socket's", api_key=key, period="total", limit_calls=0
    )
    headers = [(b"authorization", f"Bearer {secret}".encode())]
    socket = WebsocketCommunicator(application, "/ws/llmchat/", headers)
    await socket.connect()
    assert (await socket.receive_json_from())["type"] == "hello"
    await socket.send_json_to({"type": "task.submit", "ref": "a", **PROMPT})
    frame = await socket.receive_json_from()
    assert (frame["type"], frame["ref"]) == ("error", "a")
    assert frame["error"]["code"] == "budget_exceeded"
    assert frame["error"]["budget"]["name"] == "socket's"
    await socket.disconnect()
    # Her other key has no budget.
    assert (await api.post(REQUEST, PROMPT)).status_code == 202
