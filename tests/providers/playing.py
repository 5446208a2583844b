"""Responses as vendors send them, and a server that plays them in pieces."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import ANY

from chat.llm.types import ToolCall, Usage

#: An id of ours, in place of one that the vendor did not give.
MADE_UP: Any = ANY
Data = dict[str, Any] | str | bytes


@dataclass(frozen=True, kw_only=True)
class Response:
    body: bytes
    status: str = "200 OK"
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Answered:
    """An answer. `usage` None is not looked at."""

    name: str
    response: Response
    text: str = ""
    reasoning: str = ""
    finish_reason: str = "stop"
    usage: Usage | None = None
    tool_calls: tuple[ToolCall, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Failed:
    """An error with this code, whose message holds `words`."""

    name: str
    response: Response
    code: str
    words: str
    retryable: bool
    retry_after_seconds: float | None = None


Case = Answered | Failed


def failed(
    name: str,
    response: Response,
    code: str,
    words: str,
    *,
    retryable: bool = False,
    after: float | None = None,
) -> Failed:
    return Failed(
        name=name,
        response=response,
        code=code,
        words=words,
        retryable=retryable,
        retry_after_seconds=after,
    )


# --- Bodies -------------------------------------------------------------------------------------
def encoded(data: Data) -> bytes:
    if isinstance(data, dict):
        return json.dumps(data, ensure_ascii=False).encode()
    return data.encode() if isinstance(data, str) else data


def stream(*events: Data, done: bool = True, end: bytes = b"\n\n", head: bytes = b"") -> Response:
    """Events; bytes that hold a line's end are sent as they are."""
    parts = [
        event
        if isinstance(event, bytes) and (b"\n" in event or b"\r" in event)
        else b"data: " + encoded(event) + end
        for event in events
    ]
    mark = b"data: [DONE]" + end if done else b""
    headers = {"content-type": "text/event-stream; charset=utf-8"}
    return Response(body=head + b"".join(parts) + mark, headers=headers)


def whole(data: Data, status: str = "200 OK", **headers: str) -> Response:
    """One JSON value."""
    kind = {"content-type": "application/json"}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(body=encoded(data), status=status, headers={**kind, **named})


def page(text: str, status: str = "200 OK") -> Response:
    return Response(body=text.encode(), status=status, headers={"content-type": "text/html"})


def chunk(delta: Any = None, finish: Any = None, **rest: Any) -> dict[str, Any]:
    """An event as OpenAI sends them; `rest` is added to it."""
    choice = {"index": 0, "delta": {} if delta is None else delta, "finish_reason": finish}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [choice],
        **rest,
    }


def text(content: Any, finish: Any = None, **rest: Any) -> dict[str, Any]:
    return chunk({"content": content}, finish, **rest)


STOP = chunk(finish="stop")


def counts(prompt: int, completion: int) -> dict[str, int]:
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }


def tool(
    index: int | None = None,
    call_id: str | None = None,
    name: str | None = None,
    arguments: Any = None,
) -> dict[str, Any]:
    """A fragment of a tool call."""
    function = {"name": name, "arguments": arguments}
    given = {key: value for key, value in function.items() if value is not None}
    fragment: dict[str, Any] = {"function": given} if given else {}
    if index is not None:
        fragment["index"] = index
    if call_id is not None:
        fragment |= {"id": call_id, "type": "function"}
    return fragment


def tools(*fragments: dict[str, Any], finish: Any = None) -> dict[str, Any]:
    return chunk({"tool_calls": list(fragments)}, finish)


def error(message: str, **fields: Any) -> dict[str, Any]:
    return {"error": {"message": message, **fields}}


# --- How they are sent --------------------------------------------------------------------------
def _head(response: Response, **more: str) -> bytes:
    lines = [f"HTTP/1.1 {response.status}"]
    lines += [f"{name}: {value}" for name, value in {**response.headers, **more}.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def with_length(response: Response) -> list[bytes]:
    return [_head(response, **{"content-length": str(len(response.body))}) + response.body]


def in_chunks(response: Response) -> list[bytes]:
    """A chunk for each line, and each chunk a piece."""
    chunks = [b"%x\r\n%s\r\n" % (len(line), line) for line in response.body.splitlines(True)]
    return [_head(response, **{"transfer-encoding": "chunked"}), *chunks, b"0\r\n\r\n"]


def split_at_random(response: Response, name: str, count: int = 8) -> list[bytes]:
    """A response that ends with its connection, in pieces; the same for each name."""
    sent = _head(response, connection="close") + response.body
    chance = random.Random(name)
    cuts = sorted(chance.sample(range(1, len(sent)), min(count, len(sent) - 1)))
    return [sent[start:end] for start, end in zip([0, *cuts], [*cuts, len(sent)], strict=True)]


def cut(response: Response, at: int, framing: str) -> list[bytes]:
    """The first `at` bytes of the body, with a framing by which more would come, or may."""
    body = response.body[:at]
    if framing == "length":
        return [_head(response, **{"content-length": str(len(response.body))}) + body]
    if framing == "chunked":
        part = b"%x\r\n%s\r\n" % (len(body), body) if body else b""
        return [_head(response, **{"transfer-encoding": "chunked"}) + part]
    return [_head(response, connection="close") + body]


def in_bytes(response: Response) -> list[bytes]:
    sent = b"".join(with_length(response))
    return [sent[i : i + 1] for i in range(len(sent))]


@asynccontextmanager
async def vendor(responses: Iterable[list[bytes]]) -> AsyncIterator[str]:
    """A server that gives each request the next response, piece by piece, and hangs up."""
    coming = iter(responses)
    handlers: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        handlers.add(task)
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0]))
        for piece in next(coming):
            writer.write(piece)
            await asyncio.sleep(0)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    try:
        yield f"http://{host}:{port}/v1"
    finally:
        server.close()
        await asyncio.gather(*handlers, return_exceptions=True)
