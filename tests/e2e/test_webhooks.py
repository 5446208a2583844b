"""Webhooks through real processes: accepted by the web, settled and sent by a worker.

They are Bob's: long tasks of Alice's that other tests have left would be told of as well.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest
from standardwebhooks import Webhook

from tests.chat.conftest import until
from tests.client import RestClient
from tests.receiver import Receiver, running_receiver
from tests.stack import Stack


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with running_receiver() as receiver:
        yield receiver


async def make_endpoint(rest: RestClient, url: str) -> Any:
    answer = await rest.post("/api/webhooks", {"url": url})
    assert answer.status == 201, answer
    return answer.body


async def disable(rest: RestClient, endpoint: Any) -> None:
    """The other test's task has nobody to tell."""
    answer = await rest.call("PATCH", f"/api/webhooks/{endpoint['id']}", json={"is_active": False})
    assert answer.status == 200, answer


async def test_the_end_of_a_task_reaches_the_endpoint(
    bob_rest: RestClient, receiver: Receiver
) -> None:
    endpoint = await make_endpoint(bob_rest, f"{receiver.url}/hook")
    task_id = await bob_rest.submit("Tell me when you are done [sim:tokens=20]")
    await until(lambda: receiver.requests)
    headers, body = receiver.requests[0]
    said = Webhook(endpoint["secret"]).verify(body, headers)
    task = await bob_rest.task(task_id)
    assert (said["type"], said["data"]["task_id"]) == ("task.completed", task_id)
    assert said["data"]["result"]["text"] == task["result"]["text"] != ""
    await disable(bob_rest, endpoint)


@pytest.mark.slow
async def test_a_worker_killed_while_it_waits_for_the_answer_is_made_up_for(
    bob_rest: RestClient, receiver: Receiver, stack: Stack, e2e_database_url: str
) -> None:
    endpoint = await make_endpoint(bob_rest, f"{receiver.url}/held")
    await bob_rest.submit("Tell me when you are done [sim:tokens=20]")
    await until(lambda: receiver.held)
    stack.kill("worker-0")
    receiver.released.set()
    # What a minute would do: the lease of the dead worker runs out.
    async with await psycopg.AsyncConnection.connect(e2e_database_url) as connection:
        changed = await connection.execute(
            "UPDATE chat_delivery SET locked_until = now() WHERE locked_until > now()"
        )
        assert changed.rowcount == 1
    stack.restart("worker-0")
    await until(lambda: len(receiver.requests) == 2)
    assert len(set(receiver.ids)) == 1
    history = await bob_rest.get(f"/api/webhooks/{endpoint['id']}/deliveries")
    [delivery] = history.body["items"]
    assert (delivery["id"], delivery["attempts"]) == (receiver.ids[0], 2)
    await disable(bob_rest, endpoint)
