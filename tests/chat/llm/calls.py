"""Calls of a provider, and a provider that sends scripted bytes."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from chat.llm.client import ProviderClient
from chat.llm.types import ChatRequest, Completion, Delta, TimeLimits, Upstream

MODEL = "deepseek-flash"


@dataclass
class Collected:
    """Everything a call gave."""

    text: str
    reasoning: str
    completion: Completion
    deltas: int


def upstream(url: str, api_key: str | None = None) -> Upstream:
    return Upstream(base_url=url, api_key=api_key, provider="simulator")


def chat(prompt: str, **params: Any) -> ChatRequest:
    return ChatRequest(MODEL, [{"role": "user", "content": prompt}], params)


async def collect(
    client: ProviderClient,
    to: Upstream,
    request: ChatRequest,
    limits: TimeLimits | None = None,
) -> Collected:
    """Make a call to its end."""
    got: list[Delta] = []
    completion = await client.ask(to, request, limits or TimeLimits(), got.append)
    text, reasoning = (
        "".join(delta.text for delta in got),
        "".join(delta.reasoning for delta in got),
    )
    return Collected(text, reasoning, completion, len(got))


@dataclass
class RawProvider:
    """`requests` holds the head of each request that came; `sent` counts pieces and pauses."""

    url: str = ""
    connections: int = 0
    sent: int = 0
    requests: list[bytes] = field(default_factory=list)


async def _take_request(reader: asyncio.StreamReader, provider: RawProvider) -> bool:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:  # no further request
        return False
    provider.requests.append(head)
    length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    await reader.readexactly(length)
    return True


async def _send(
    writer: asyncio.StreamWriter, pieces: tuple[bytes | float, ...], provider: RawProvider
) -> None:
    for piece in pieces:
        if isinstance(piece, bytes):
            writer.write(piece)
            await writer.drain()
        else:
            await asyncio.sleep(piece)
        provider.sent += 1


@asynccontextmanager
async def raw_provider(
    *pieces: bytes | float, end: str = "close", tls: ssl.SSLContext | None = None
) -> AsyncIterator[RawProvider]:
    """A server that answers each request with `pieces` of bytes, pausing where one is a number
    of seconds, and then closes, resets or holds the connection, or takes the next request."""
    provider = RawProvider()
    handlers: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        handlers.add(task)
        provider.connections += 1
        try:
            while await _take_request(reader, provider):
                await _send(writer, pieces, provider)
                if end != "again":
                    break
            if end == "reset":
                writer.transport.abort()
            elif end == "hold":
                await reader.read()
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
    host, port = server.sockets[0].getsockname()
    provider.url = f"{'https' if tls else 'http'}://{host}:{port}"
    try:
        yield provider
    finally:
        server.close()
        for task in handlers:
            task.cancel()
        await asyncio.gather(*handlers, return_exceptions=True)


def response(*body: bytes, kind: str = "text/event-stream", status: str = "200 OK") -> bytes:
    """A whole response whose end is the end of the connection."""
    head = f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\nconnection: close\r\n\r\n"
    return head.encode() + b"".join(body)


def event(data: str) -> bytes:
    return f"data: {data}\n\n".encode()


def text_event(text: str) -> bytes:
    """`text` goes into a JSON string as it is."""
    return event(f'{{"choices":[{{"index":0,"delta":{{"content":"{text}"}}}}]}}')


STOP = event('{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}')
DONE = event("[DONE]")
