"""Answers of megabytes, through clients as they come, and for a client that does not read."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import aiohttp
import psycopg
import pytest
import redis
from websockets.asyncio.client import connect

from chat.eventlog.keys import log_key
from tests.client import ChatSocket, RestClient, TaskFrames, chat_socket
from tests.e2e.conftest import Keys
from tests.e2e.long_logs import DELTA_BYTES, DELTAS, write_long_log
from tests.e2e.web_servers import EACH_WEB_SERVER, WebServer, running_web_server
from tests.stack import Stack

MIB = 1_048_576


@pytest.fixture
def server(stack: Stack, request: pytest.FixtureRequest) -> Iterator[WebServer]:
    with running_web_server(stack, request.param) as server:
        yield server


TEXT = "漢字 and words, \u2028 too. " * 60_000
REASONING = "Hm. " * 100_000


async def make_large(stack: Stack, database_url: str, task_ids: list[str]) -> None:
    """Give ended tasks a large answer, and take away their logs."""
    ago = datetime.now(UTC) - timedelta(hours=1)
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        await connection.execute(
            "UPDATE chat_task SET text = %s, reasoning = %s, finished_at = %s WHERE id = ANY(%s)",
            [TEXT, REASONING, ago, task_ids],
        )
    with redis.Redis.from_url(stack.environment["REDIS_URL"]) as valkey:
        valkey.delete(*(log_key(task_id) for task_id in task_ids))


@pytest.fixture
async def large(stack: Stack, e2e_database_url: str, socket: ChatSocket) -> list[str]:
    prompts = [f"Large {number} [sim:latency=0,tokens=4,tps=0]" for number in range(20)]
    task_ids = await asyncio.gather(*map(socket.submit, prompts))
    await asyncio.gather(*map(socket.ended, task_ids))
    await make_large(stack, e2e_database_url, task_ids)
    return task_ids


async def test_common_clients_get_all_of_it_with_their_own_limits(
    stack: Stack, keys: Keys, large: list[str], rest: RestClient
) -> None:
    headers = {"Authorization": f"Bearer {keys.alice}"}
    frames = TaskFrames()
    url = stack.base_url.replace("http", "ws") + "/ws/llmchat/"
    async with connect(url, additional_headers=headers) as websocket:
        await websocket.send(json.dumps({"type": "task.subscribe", "task_id": large[0]}))
        while frames.end is None:
            frame = json.loads(await websocket.recv())
            if "task_id" in frame:
                frames.add(frame)
    assert (frames.text, frames.reasoning) == (TEXT, REASONING)
    assert frames.end["is_truncated"] is True
    streamed = TaskFrames()
    path = f"{stack.base_url}/api/llmchat/tasks/{large[0]}/events"
    async with aiohttp.ClientSession(headers=headers) as session, session.get(path) as response:
        # Its lines have 128 KiB at most.
        async for line in response.content:
            if line.startswith(b"data: "):
                assert len(line.decode().splitlines()) == 1
                streamed.add(json.loads(line[6:]))
    assert streamed.frames == frames.frames
    task = await rest.task(large[0])
    assert (task["result"]["text"], task["result"]["reasoning"]) == (TEXT, REASONING)


@pytest.mark.parametrize("server", EACH_WEB_SERVER, indirect=True)
async def test_a_stream_that_nobody_reads_takes_little_memory(
    stack: Stack, keys: Keys, socket: ChatSocket, server: WebServer
) -> None:
    task_id = await socket.submit("Read me later [sim:latency=0,tokens=4,tps=0]")
    end = (await socket.ended(task_id)).end
    assert end is not None
    ids = write_long_log(stack, task_id, end)
    path = f"/api/llmchat/tasks/{task_id}/events"
    before = server.memory_bytes()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=65_536)
    head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {keys.alice}\r\n\r\n"
    writer.write(head.encode())
    await reader.readuntil(b"id: 1-1\n")
    # Others read all of it meanwhile, so there was time to send it.
    async with RestClient(server.base_url, keys.alice) as other:
        assert [frame["id"] for frame in (await other.follow(task_id)).logged] == ids
    assert server.memory_bytes() - before < DELTAS * DELTA_BYTES / 2
    writer.transport.abort()


@pytest.mark.slow
@pytest.mark.parametrize("server", EACH_WEB_SERVER, indirect=True)
async def test_a_submits_stream_that_nobody_reads_takes_little_memory(
    stack: Stack, keys: Keys, rest: RestClient, server: WebServer
) -> None:
    """A repeated submit is streamed its earlier task."""
    prompt = "Read me later [sim:latency=0,tokens=4,tps=0]"
    body = {"messages": [{"role": "user", "content": prompt}]}
    headers = {"Idempotency-Key": f"unread-{server.name}"}
    first = await rest.post("/api/llmchat/request", body, headers=headers)
    end = (await rest.follow(task_id := first.body["task_id"])).end
    assert end is not None
    write_long_log(stack, task_id, end)
    before = server.memory_bytes()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=65_536)
    content = json.dumps(body)
    writer.write(
        f"POST /api/llmchat/request/stream HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Authorization: Bearer {keys.alice}\r\nIdempotency-Key: {headers['Idempotency-Key']}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        f"{content}".encode()
    )
    await reader.readuntil(b"id: 1-1\n")
    async with RestClient(server.base_url, keys.alice) as other:
        await other.follow(task_id)
    assert server.memory_bytes() - before < DELTAS * DELTA_BYTES / 2
    writer.transport.abort()


async def test_a_client_that_follows_many_and_reads_none_takes_little_memory(
    stack: Stack, keys: Keys, large: list[str]
) -> None:
    """All together they are some 60 MB, and several times that as they are made."""
    names = ("web-0", "web-1")
    before = stack.memory(*names)
    async with chat_socket(stack.base_url, keys.alice, max_queue=None) as slow:
        slow.connection.transport.pause_reading()
        for task_id in large:
            await slow.subscribe(task_id)
        # Another client is served meanwhile, so there was time to read all of them.
        async with chat_socket(stack.base_url, keys.alice) as other:
            for task_id in large[:3]:
                await other.subscribe(task_id)
                await other.ended(task_id)
        assert sum(stack.growth(before, *names).values()) < 100 * MIB
        slow.connection.transport.resume_reading()
        for task_id in large:
            assert (await slow.ended(task_id)).text == TEXT
