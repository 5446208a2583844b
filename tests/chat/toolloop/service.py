"""A company's HTTP service with four tools, whose calls a test can count and hold back."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from chat.models import Tool, ToolPolicy, ToolServer, ToolServerKind

SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "integer"}},
    "required": ["a"],
    "additionalProperties": False,
}


@dataclass
class ToolService:
    """`calls` are (tool, arguments) as they came in; `held` keeps those of a tool unanswered."""

    url: str = ""
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    finished: Counter[str] = field(default_factory=Counter)
    held: dict[str, asyncio.Event] = field(default_factory=dict)
    at_once: int = 0
    most_at_once: int = 0

    @property
    def begun(self) -> Counter[str]:
        return Counter(name for name, _ in self.calls)

    def hold(self, name: str) -> asyncio.Event:
        """Answer no call of this tool until the event is set."""
        event = self.held[name] = asyncio.Event()
        return event

    async def answer(self, request: web.Request) -> web.Response:
        name, arguments = request.match_info["name"], await request.json()
        self.calls.append((name, arguments))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if name in self.held:
                await self.held[name].wait()
            if name == "broken":
                return web.Response(status=500, text="out of paper")
            if name == "large":
                return web.Response(text="x" * 100_000)
            self.finished[name] += 1
            return web.json_response({"tool": name, "a": arguments.get("a")})
        finally:
            self.at_once -= 1


@asynccontextmanager
async def tool_service() -> AsyncIterator[ToolService]:
    """The service on a free port of this host."""
    service = ToolService()
    application = web.Application()
    application.router.add_post("/tools/{name}", service.answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        service.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield service
    finally:
        for event in service.held.values():
            event.set()
        await runner.cleanup()


def add_tools(url: str, **fields: Any) -> ToolServer:
    """The service's tools: `add` is automatic, `again` also idempotent, `ask` needs approval."""
    server = ToolServer.objects.create(
        name="office", kind=ToolServerKind.HTTP, url=url, **{"timeout_seconds": 30, **fields}
    )
    for name, policy, is_idempotent in (
        ("add", ToolPolicy.AUTOMATIC, False),
        ("again", ToolPolicy.AUTOMATIC, True),
        ("ask", ToolPolicy.ASK, False),
        ("broken", ToolPolicy.AUTOMATIC, False),
        ("large", ToolPolicy.AUTOMATIC, True),
    ):
        Tool.objects.create(
            server=server,
            name=name,
            function_name=name,
            description=f"The tool {name}.",
            input_schema=SCHEMA,
            is_enabled=True,
            policy=policy,
            is_idempotent=is_idempotent,
            method="POST",
            path=f"/tools/{name}",
        )
    return server
