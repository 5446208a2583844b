"""The network to Redis or PostgreSQL is cut, so that packets vanish, and heals again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from django.conf import settings

from aily.embedded.addresses import valkey_socket
from tests.client import Answer, ChatSocket, RestClient, chat_socket
from tests.databases import make_database, url_of
from tests.e2e.conftest import MAKE_KEYS, Keys
from tests.prepared import MIGRATED
from tests.proxy import Proxy
from tests.stack import Stack
from tests.waiting import eventually

#: How long an answer of Redis or PostgreSQL is awaited.
ANSWER_SECONDS = 2
#: The longest that a request may take to be refused: one answer that is waited for, and then one
#: connection, on a machine that has five other processes of tests to run.
REFUSED_SECONDS = 20.0
#: From healing to service, with everything that waits for a second or two in between.
BACK_SECONDS = 30.0
#: Long enough for one answer to be awaited in vain, a lease to run out, and a probe to fail.
CUT_SECONDS = 5.0


@dataclass(frozen=True)
class Cuttable:
    stack: Stack
    keys: Keys
    proxies: dict[str, Proxy]


@pytest.fixture(scope="module")
def installation(database_server: dict[str, str]) -> Iterator[Cuttable]:
    if not database_server.get("host", "").startswith("/"):
        pytest.skip("the network is cut in front of the embedded PostgreSQL only")
    make_database(database_server, "aily_outages", MIGRATED)
    data_dir = Path(settings.DATA_DIR) / "outages"
    postgres_socket = Path(database_server["host"]) / ".s.PGSQL.5432"
    with Proxy(postgres_socket) as postgres, Proxy(valkey_socket(data_dir)) as valkey:
        server = {**database_server, "host": "127.0.0.1", "port": str(postgres.port)}
        environment = {
            "REDIS_URL": f"redis://127.0.0.1:{valkey.port}/0",
            "REDIS_TIMEOUT_SECONDS": str(ANSWER_SECONDS),
            "DATABASE_ANSWER_SECONDS": str(ANSWER_SECONDS),
            "DATABASE_POOL_TIMEOUT_SECONDS": "1",
            "WORKER_LEASE_SECONDS": "3",
            "POSITION_CHECK_SECONDS": "2",
        }
        url = url_of(server, "aily_outages")
        only = ("valkey", "simulator", "worker", "scheduler", "web")
        stack = Stack(
            url, data_dir, web_processes=1, environment=environment, only=only, script=MAKE_KEYS
        )
        with stack:
            yield Cuttable(stack, Keys(*stack.made), {"postgres": postgres, "redis": valkey})


@pytest.fixture
async def rest(installation: Cuttable) -> AsyncIterator[RestClient]:
    async with RestClient(installation.stack.base_url, installation.keys.alice) as client:
        yield client


@pytest.fixture
async def socket(installation: Cuttable) -> AsyncIterator[ChatSocket]:
    async with chat_socket(installation.stack.base_url, installation.keys.alice) as socket:
        yield socket


Call = Callable[[], Awaitable[Answer]]


def submitting(rest: RestClient, prompt: str) -> Call:
    body = {"messages": [{"role": "user", "content": prompt}]}
    return lambda: rest.post("/api/llmchat/request", body)


def completing(rest: RestClient, prompt: str) -> Call:
    messages = [{"role": "user", "content": prompt}]
    body = {"model": "deepseek-flash", "messages": messages}
    return lambda: rest.post("/v1/chat/completions", body)


async def is_refused_in_openais_form(rest: RestClient) -> None:
    answer = await completing(rest, "Refused")()
    assert answer.status == 503
    assert answer.body["error"].keys() == {"message", "type", "param", "code"}
    assert answer.body["error"]["type"] == "server_error"
    assert 1 <= int(answer.headers["Retry-After"]) <= 120


async def refused(call: Call) -> Answer:
    """Call until the answer is a 503: what was under way when the network went may get through."""
    while True:
        began = time.monotonic()
        answer = await call()
        assert time.monotonic() - began < REFUSED_SECONDS
        if answer.status == 503:
            assert answer.body["code"] == "unavailable"
            assert 1 <= int(answer.headers["Retry-After"]) <= 10
            return answer
        assert answer.status in (200, 202), answer


async def is_unready(rest: RestClient, part: str) -> None:
    """Whichever process a prober asks, while all its threads for the database may be waiting."""
    for _ in range(6):
        async with asyncio.timeout(REFUSED_SECONDS):
            probed = await rest.get("/readyz")
        assert (probed.status, probed.body["parts"][part]) == (503, "unavailable")


async def back(call: Call) -> Answer:
    """Call until it is answered again."""

    async def answered_by() -> Answer | None:
        answer = await call()
        return None if answer.status == 503 else answer

    answer = await eventually(answered_by, "the answer", BACK_SECONDS)
    assert answer is not None
    return answer


@asynccontextmanager
async def outage(proxy: Proxy) -> AsyncIterator[None]:
    """The network is cut for CUT_SECONDS, or for as long as the checks within take."""
    began = time.monotonic()
    proxy.cut()
    try:
        yield
        await asyncio.sleep(began + CUT_SECONDS - time.monotonic())
    finally:
        proxy.heal()


async def submitted(socket: ChatSocket, prompt: str) -> str:
    """The id of a task, accepted once this socket's process knows that everything is back."""

    async def task_id() -> str:
        messages = [{"role": "user", "content": prompt}]
        reply = await socket.ask(type="task.submit", messages=messages)
        if reply["type"] == "task.accepted":
            return str(reply["task_id"])
        assert reply["error"]["code"] == "unavailable"
        return ""

    return await eventually(task_id, "the task", BACK_SECONDS)


@pytest.mark.slow
async def test_the_network_to_redis_is_cut(
    installation: Cuttable, rest: RestClient, socket: ChatSocket
) -> None:
    waiting = asyncio.ensure_future(completing(rest, "Waited for [sim:latency=2]")())
    running = await submitted(socket, "Through the cut [sim:latency=1,tokens=40,tps=20]")
    await socket.got(running, "task.delta")
    async with outage(installation.proxies["redis"]):
        await refused(submitting(rest, "Refused"))
        # What is known is not waited for again: waits for all would take twice as long.
        began = time.monotonic()
        for _ in range(2 * int(REFUSED_SECONDS / ANSWER_SECONDS)):
            assert (await submitting(rest, "Refused")()).status == 503
        assert time.monotonic() - began < REFUSED_SECONDS
        await is_refused_in_openais_form(rest)
        reply = await socket.ask(
            type="task.submit", messages=[{"role": "user", "content": "Refused"}]
        )
        assert reply["error"]["code"] == "unavailable"
        assert reply["error"]["retry_after_seconds"] >= 1
        # PostgreSQL alone can answer these.
        assert (await rest.task(running))["task_id"] == running
        assert (await rest.get("/api/llmchat/tasks")).status == 200
    answer = await back(submitting(rest, "Accepted again [sim:latency=0,tokens=8,tps=0]"))
    frames = await socket.ended(str(answer.body["task_id"]))
    assert frames.end is not None
    assert frames.end["type"] == "task.completed"
    whole = await socket.ended(running)
    whole.check_ids()
    task = await rest.task(running)
    assert (task["status"], task["attempt"]) == ("succeeded", 1)
    assert whole.text == task["result"]["text"]
    assert (await waiting).status == 200
    tasks = (await rest.get("/api/llmchat/tasks", params={"active": "true"})).body
    assert tasks["count"] == 0


@pytest.mark.slow
async def test_the_network_to_postgresql_is_cut(
    installation: Cuttable, rest: RestClient, socket: ChatSocket
) -> None:
    waiting = asyncio.ensure_future(completing(rest, "Waited for [sim:latency=2]")())
    running = await submitted(socket, "Through the cut [sim:latency=1,tokens=20,tps=20]")
    await socket.got(running, "task.delta")
    async with outage(installation.proxies["postgres"]):
        # More at once than there are threads for the database.
        await asyncio.gather(*(refused(submitting(rest, "Refused")) for _ in range(20)))
        await is_refused_in_openais_form(rest)
        reply = await socket.ask(
            type="task.submit", messages=[{"role": "user", "content": "Refused"}]
        )
        assert reply["error"]["code"] == "unavailable"
        await refused(lambda: rest.get("/api/llmchat/tasks"))
        await is_unready(rest, "database")
    answer = await back(submitting(rest, "Accepted again [sim:latency=0,tokens=8,tps=0]"))
    await socket.ended(str(answer.body["task_id"]))
    whole = await socket.ended(running)
    whole.check_ids()
    task = await rest.task(running)
    assert (task["status"], task["attempt"]) == ("succeeded", 1)
    assert whole.text == task["result"]["text"]
    assert (await waiting).status == 200
