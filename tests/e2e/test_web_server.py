"""The web servers that are not the default, in front of the same installation.

Each is a process like those that WEB_SERVER starts; with that variable in its environment this
whole directory runs against one.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterator

import psutil
import psycopg
import pytest
from websockets.asyncio.client import connect

from aily.environment import ConfigurationError
from aily.launcher.programs import BASE_DIR, WEB_MODULES, Options
from tests.client import RestClient, chat_socket
from tests.e2e.conftest import Keys
from tests.e2e.ended_access import check_that_streams_and_waits_end
from tests.e2e.long_logs import ANSWER
from tests.e2e.sessions import make_keys
from tests.e2e.web_servers import EACH_WEB_SERVER, WebServer, running_web_server, wait_until_ready
from tests.ports import free_ports
from tests.stack import Stack
from tests.waiting import eventually

#: What each closes its sockets with at SIGTERM, and how it ends then: uvicorn as the signal would
#: have ended it.
AT_THE_END = {"uvicorn": (1012, -signal.SIGTERM)}


@pytest.fixture
def server(stack: Stack, name: str) -> Iterator[WebServer]:
    with running_web_server(stack, name) as server:
        yield server


@pytest.mark.parametrize("name", AT_THE_END)
async def test_it_streams_refuses_large_frames_and_says_when_it_stops(
    server: WebServer, keys: Keys, rest: RestClient
) -> None:
    code, returned = AT_THE_END[server.name]
    async with (
        RestClient(server.base_url, keys.alice) as asking,
        chat_socket(server.base_url, keys.alice) as watching,
        chat_socket(server.base_url, keys.alice) as socket,
    ):
        task_id = await socket.submit(f"Behind {server.name} {ANSWER}")
        frames = await socket.ended(task_id)
        frames.check_ids()
        assert "task.delta" in frames.types
        await socket.connection.send('{"type":"ping","ref":"' + "x" * 300_000 + '"}')
        assert await socket.closed() == 1009
        body = {"messages": [{"role": "user", "content": "Wait for me [sim:latency=20]"}]}
        waiting = asyncio.create_task(asking.post("/api/llmchat/request?sync=true", body))
        await watching.until(lambda: len(watching.tasks) > 1)
        os.kill(server.process.pid, signal.SIGTERM)
        assert await watching.closed() == code
        answer = await waiting
    assert answer.status == 202
    assert server.process.wait(10) == returned
    await rest.post(f"/api/llmchat/tasks/{answer.body['task_id']}/cancel")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["uvicorn"])
async def test_it_ends_streams_and_waits_whose_access_is_taken_away(
    server: WebServer, rest: RestClient
) -> None:
    await check_that_streams_and_waits_end(server.base_url, rest)


async def closed_with(base_url: str, key: str) -> int | None:
    """Open a WebSocket and wait for its end. Raises InvalidStatus where it is refused."""
    url = base_url.replace("http", "ws", 1) + "/ws/llmchat/"
    async with connect(url, additional_headers={"Authorization": f"Bearer {key}"}) as socket:
        await socket.wait_closed()
        return socket.close_code


async def until_somebody_waits(connection: psycopg.AsyncConnection) -> None:
    """For a lock that this connection holds."""
    blocked = "SELECT 1 FROM pg_stat_activity WHERE pg_backend_pid() = ANY(pg_blocking_pids(pid))"

    async def are_blocked() -> int:
        return (await connection.execute(blocked)).rowcount

    await eventually(are_blocked)


async def until_it_stops(port: int, pid: int) -> None:
    """Send SIGTERM, and wait until it is acted on."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = b""
    while not answer or answer.startswith(b"HTTP/1.1 200"):
        writer.write(b"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        is_first = not answer
        answer = await reader.read(65_536)
        if is_first:
            os.kill(pid, signal.SIGTERM)
        elif not answer:
            break
    writer.close()


@pytest.mark.parametrize("name", EACH_WEB_SERVER)
async def test_who_is_being_let_in_when_it_stops_is_told_to_come_again(
    server: WebServer, stack: Stack, e2e_database_url: str
) -> None:
    [made] = await asyncio.to_thread(make_keys, stack.base_url, {"name": "late"})
    unknown = made["secret"]
    async with await psycopg.AsyncConnection.connect(e2e_database_url) as connection:
        await connection.execute("LOCK accounts_apikey IN ACCESS EXCLUSIVE MODE")
        opening = asyncio.create_task(closed_with(server.base_url, unknown))
        await until_somebody_waits(connection)
        async with asyncio.timeout(10):
            await until_it_stops(server.port, server.process.pid)
        await connection.rollback()
        assert await opening in (1012, 4503)
    server.process.wait(10)


@pytest.mark.slow
@pytest.mark.parametrize("name", AT_THE_END)
def test_deployments_start_it_by_the_same_setting(stack: Stack, name: str) -> None:
    [port] = free_ports(1)
    environment = {"WEB_SERVER": name, "HOST": "127.0.0.1", "PORT": str(port)}
    command = [str(BASE_DIR / "deploy" / "start.sh"), "web"]
    with subprocess.Popen(command, env={**stack.environment, **environment}) as process:
        wait_until_ready(port, process)
        assert WEB_MODULES[name] in psutil.Process(process.pid).cmdline()
        process.terminate()
        assert process.wait(10) == AT_THE_END[name][1]


def test_an_unknown_web_server_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="must be one of daphne, uvicorn, not"):
        Options.from_environment({"WEB_SERVER": "gunicorn"})
