"""Tool servers of the test's own: the official package's, plain HTTP, and raw sockets that
misbehave. All on this loop, over real connections."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import uvicorn
from auditlog.context import disable_auditlog
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import BaseModel
from pytest_django import Settings
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from aily.database.threads import in_database
from aily.redis.clients import close_async_clients
from chat.models import Tool, ToolPolicy, ToolServer
from chat.tools import exchange
from tests.waiting import until

MODERN, LEGACY = "2026-07-28", "2025-11-25"
REVISIONS = pytest.mark.parametrize("revision", [MODERN, LEGACY])
ANY = {"type": "object"}

MakeTool = Callable[..., Awaitable[Tool]]
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture
async def tool_loop(transactional_db: None) -> AsyncIterator[None]:
    """Closes what calls on this loop have opened."""
    yield
    await exchange.get_connections().aclose()
    await close_async_clients()


@pytest.fixture
def make_tool(tool_loop: None) -> MakeTool:
    """Makes an enabled tool and, unless it is there, its server."""

    async def make(url: str, name: str = "echo", **fields: Any) -> Tool:
        of_server = {
            key.removeprefix("server_"): fields.pop(key)
            for key in [*fields]
            if key.startswith("server_")
        }
        return await in_database(partial(_make, url, name, of_server, fields))

    return make


def _make(url: str, name: str, of_server: dict[str, Any], fields: dict[str, Any]) -> Tool:
    secret = of_server.pop("secret", "")
    with disable_auditlog():
        server, _ = ToolServer.objects.get_or_create(
            name=of_server.pop("name", "server"),
            defaults={"url": url, "timeout_seconds": 20, **of_server},
        )
        if secret:
            server.set_secret(secret)
            server.save()
    defaults = {
        "function_name": name,
        "is_enabled": True,
        "policy": ToolPolicy.AUTOMATIC,
        "input_schema": ANY,
    }
    with disable_auditlog():
        return Tool.objects.create(server=server, name=name, **{**defaults, **fields})


# --- A server of the official package -----------------------------------------------------------
class Sum(BaseModel):
    total: int


class Counted:
    """An MCP server and what it was asked."""

    def __init__(self) -> None:
        self.server = MCPServer("tests", version="1")
        self.calls: list[str] = []
        self.authorizations: list[str | None] = []
        self.protocol_methods: list[str] = []
        self.url = ""
        self._add_tools()

    def _add_tools(self) -> None:
        @self.server.tool()
        async def echo(text: str) -> str:
            """Say it again."""
            self.calls.append(text)
            return text

        @self.server.tool()
        async def add(a: int, b: int) -> Sum:
            """Add two numbers."""
            return Sum(total=a + b)

        @self.server.tool()
        async def fail(message: str) -> str:
            """Fail."""
            raise ToolError(message)

        @self.server.tool()
        async def wait(seconds: float, ctx: Context) -> str:
            """Wait, with progress."""
            try:
                await asyncio.sleep(seconds)
            except asyncio.CancelledError:
                self.calls.append("cancelled")
                raise
            return "waited"

    def app(self, only: str | None) -> ASGIApp:
        """`only`: the one revision that it speaks; None: both."""
        inner = self.server.streamable_http_app(host="127.0.0.1")

        async def noting(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http":
                request = Request(scope)
                self.authorizations.append(request.headers.get("authorization"))
                version = request.headers.get("mcp-protocol-version")
                if only == LEGACY and version == MODERN:
                    await _refuse(send)
                    return
                self.protocol_methods.append(f"{request.method} {version}")
            await inner(scope, receive, send)

        return noting


async def _refuse(send: Send) -> None:
    await send({"type": "http.response.start", "status": 400, "headers": []})
    await send({"type": "http.response.body", "body": b"unknown revision"})


@asynccontextmanager
async def running_mcp(only: str | None = None) -> AsyncIterator[Counted]:
    counted = Counted()
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        counted.app(only), log_config=None, loop="none", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    running = asyncio.ensure_future(server._serve([listening]))
    counted.url = f"http://127.0.0.1:{listening.getsockname()[1]}/mcp"
    await until(lambda: server.started)
    yield counted
    server.should_exit = True
    await running


@pytest.fixture
async def mcp_server(tool_loop: None, revision: str) -> AsyncIterator[Counted]:
    async with running_mcp(LEGACY if revision == LEGACY else None) as counted:
        yield counted


# --- Raw sockets --------------------------------------------------------------------------------
@asynccontextmanager
async def raw_server(handle: Handler) -> AsyncIterator[str]:
    """Each connection goes to `handle` after its request was read. Yields the address."""
    handlers: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        handlers.add(task)
        try:
            await read_request(reader)
            await handle(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            handlers.discard(task)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in [*handlers]:
            task.cancel()
        await asyncio.gather(*handlers, return_exceptions=True)


async def read_request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        (
            int(line.partition(b":")[2])
            for line in head.lower().split(b"\r\n")
            if line.startswith(b"content-length:")
        ),
        0,
    )
    return head + await reader.readexactly(length)


@pytest.fixture(autouse=True)
def short_times(settings: Settings) -> None:
    settings.WORKER_LEASE_SECONDS = 30
