"""Tool servers that misbehave: the model gets a short clear error, and nothing else is held up."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from pytest_django import Settings

from chat.models import ToolServerKind
from chat.tools.calling import NoSlotError, call_tool
from tests.chat.tools.conftest import MODERN, Handler, MakeTool, raw_server, read_request
from tests.ports import free_ports

HTTP = {"server_kind": ToolServerKind.HTTP, "method": "POST"}
MCP = {"server_protocol_version": MODERN}
KINDS = pytest.mark.parametrize("kind", [MCP, HTTP], ids=["mcp", "http"])


def answering(head: bytes, body: bytes = b"") -> Handler:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head + b"\r\n\r\n" + body)
        await writer.drain()

    return handle


def json_head(length: int) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d" % length


async def test_a_server_that_is_down(make_tool: MakeTool) -> None:
    url = f"http://127.0.0.1:{free_ports(1)[0]}"
    result = await call_tool(await make_tool(url, **MCP), {}, call_id="c1")
    assert result.is_error
    assert result.code == "tool_unreachable"
    assert "cannot be reached" in result.text


@KINDS
async def test_a_server_that_says_nothing(make_tool: MakeTool, kind: dict[str, Any]) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with raw_server(handle) as url:
        tool = await make_tool(url, server_timeout_seconds=0.2, **kind)
        result = await call_tool(tool, {}, call_id="c1")
    assert result.code == "tool_timeout"


@KINDS
@pytest.mark.parametrize("body", [b"", b'{"jsonrpc": "2.0", "id": 1, "res'])
async def test_half_an_answer(make_tool: MakeTool, kind: dict[str, Any], body: bytes) -> None:
    async with raw_server(answering(json_head(1000), body)) as url:
        result = await call_tool(await make_tool(url, **kind), {}, call_id="c1")
    assert result.code == "tool_truncated"
    assert "not known" in result.text


@KINDS
async def test_a_connection_that_is_closed_without_an_answer(
    make_tool: MakeTool, kind: dict[str, Any]
) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pass

    async with raw_server(handle) as url:
        result = await call_tool(await make_tool(url, **kind), {}, call_id="c1")
    assert result.code == "tool_truncated"


async def test_a_stream_that_breaks_off(make_tool: MakeTool) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close"
    async with raw_server(answering(head, b"event: message\ndata: {\n\n")) as url:
        result = await call_tool(await make_tool(url, **MCP), {}, call_id="c1")
    assert result.is_error
    assert result.code in ("tool_truncated", "tool_invalid_response")


@KINDS
@pytest.mark.parametrize("is_announced", [True, False])
async def test_a_result_of_100_mb_is_not_read(
    make_tool: MakeTool, kind: dict[str, Any], is_announced: bool
) -> None:
    sent = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        head = json_head(100_000_000)
        writer.write((head if is_announced else head.partition(b"\r\ncontent-l")[0]) + b"\r\n\r\n")
        for _ in range(1000):
            writer.write(b" " * 100_000)
            await writer.drain()
            sent += 100_000

    async with raw_server(handle) as url:
        tool = await make_tool(url, server_max_result_bytes=1000, **kind)
        result = await call_tool(tool, {}, call_id="c1")
    assert result.code == "tool_result_too_large"
    assert len(result.text) < 200
    assert sent < 20_000_000


async def test_an_endless_stream_of_progress(make_tool: MakeTool) -> None:
    note = {"jsonrpc": "2.0", "method": "notifications/progress"}
    event = f"data: {json.dumps({**note, 'params': {'progressToken': 1, 'progress': 1}})}\n\n"

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
        while not writer.is_closing():
            writer.write(event.encode() * 10)
            await writer.drain()

    async with raw_server(handle) as url:
        tool = await make_tool(url, server_timeout_seconds=0.5, **MCP)
        result = await call_tool(tool, {}, call_id="c1")
    assert result.code in ("tool_timeout", "tool_result_too_large")


@KINDS
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(
    make_tool: MakeTool, kind: dict[str, Any], status: int
) -> None:
    asked = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        writer.write(b"HTTP/1.1 %d Moved\r\nlocation: /other\r\ncontent-length: 0\r\n\r\n" % status)

    async with raw_server(handle) as url:
        result = await call_tool(await make_tool(url, **kind), {}, call_id="c1")
    assert (result.code, asked) == ("tool_redirect", 1)


@KINDS
async def test_an_answer_that_is_compressed(make_tool: MakeTool, kind: dict[str, Any]) -> None:
    head = json_head(3) + b"\r\ncontent-encoding: gzip"
    async with raw_server(answering(head, b"abc")) as url:
        result = await call_tool(await make_tool(url, **kind), {}, call_id="c1")
    assert result.code == "tool_invalid_response"


@KINDS
@pytest.mark.parametrize("status", [401, 403])
async def test_refused_credentials(make_tool: MakeTool, kind: dict[str, Any], status: int) -> None:
    secret = "sk-0123456789abcdef"
    head = b"HTTP/1.1 %d No\r\ncontent-length: %d" % (status, len(secret))
    async with raw_server(answering(head, secret.encode())) as url:
        tool = await make_tool(url, server_auth="bearer", server_secret=secret, **kind)
        result = await call_tool(tool, {}, call_id="c1")
    assert result.code == "tool_auth"
    assert secret not in result.text


@KINDS
@pytest.mark.parametrize("status", [404, 429, 500, 503])
async def test_errors_of_http(make_tool: MakeTool, kind: dict[str, Any], status: int) -> None:
    head = b"HTTP/1.1 %d No\r\ncontent-length: 0" % status
    async with raw_server(answering(head)) as url:
        result = await call_tool(await make_tool(url, **kind), {}, call_id="c1")
    assert result.is_error
    if kind is HTTP or status >= 500:
        assert (result.code, str(status) in result.text) == ("tool_http_error", True)


@KINDS
@pytest.mark.parametrize("body", [b"<html>", b"{", b"[1, 2]", b'{"jsonrpc": "2.0"}', b"\xff\xfe"])
async def test_an_answer_that_is_not_the_protocol(
    make_tool: MakeTool, kind: dict[str, Any], body: bytes
) -> None:
    async with raw_server(answering(json_head(len(body)), body)) as url:
        result = await call_tool(await make_tool(url, **kind), {}, call_id="c1")
    if kind is HTTP and body[:1] in b"[{" and len(body) > 1:
        assert not result.is_error
    else:
        assert result.code == "tool_invalid_response"


async def test_private_addresses(make_tool: MakeTool, settings: Settings) -> None:
    async with raw_server(answering(json_head(2), b"{}")) as url:
        tool = await make_tool(url, server_public_only=True, **HTTP)
        refused = await call_tool(tool, {}, call_id="c1")
        assert refused.code == "tool_forbidden_address"
        settings.PROVIDER_ALLOW_PRIVATE = True
        allowed = await call_tool(tool, {}, call_id="c1")
        assert not allowed.is_error


# --- Arguments and results ----------------------------------------------------------------------
ORDER = {
    "type": "object",
    "properties": {"id": {"type": "integer", "minimum": 1}},
    "required": ["id"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({}, "id"),
        ({"id": "7"}, "id"),
        ({"id": 0}, "minimum"),
        ({"id": 1, "more": 2}, "more"),
        ({"id": float("nan")}, "id"),
    ],
)
async def test_arguments_that_do_not_fit_are_not_sent(
    make_tool: MakeTool, arguments: dict[str, Any], named: str
) -> None:
    url = f"http://127.0.0.1:{free_ports(1)[0]}"
    tool = await make_tool(url, input_schema=ORDER, **HTTP)
    result = await call_tool(tool, arguments, call_id="c1")
    assert result.code == "tool_invalid_arguments"
    assert named in result.text


async def test_a_schema_that_would_take_for_ever(make_tool: MakeTool, settings: Settings) -> None:
    settings.OUTPUT_CHECK_SECONDS = 0.2
    schema = {"type": "object", "properties": {"a": {"pattern": "^(a+)+$"}}}
    tool = await make_tool("http://127.0.0.1:9", input_schema=schema, **HTTP)
    result = await call_tool(tool, {"a": "a" * 40 + "!"}, call_id="c1")
    assert result.code == "tool_invalid_arguments"


async def test_a_long_result_is_cut_with_a_note(make_tool: MakeTool) -> None:
    text = "é" * 1000
    body = json.dumps({"text": text}, ensure_ascii=False).encode()
    async with raw_server(answering(json_head(len(body)), body)) as url:
        tool = await make_tool(url, server_max_result_bytes=300, **HTTP)
        result = await call_tool(tool, {}, call_id="c1")
    assert not result.is_error
    assert result.bytes == len(body)
    assert result.text.endswith(f"[cut: the first 300 of {len(body)} bytes]")
    assert len(result.text.encode()) < 350
    assert result.structured is None


async def test_what_no_database_can_store(make_tool: MakeTool) -> None:
    body = b'{"text": "a\\u0000b", "a\\u0000": ["\\u0000"]}'
    async with raw_server(answering(json_head(len(body)), body)) as url:
        result = await call_tool(await make_tool(url, **HTTP), {}, call_id="c1")
    assert "\0" not in json.dumps([result.text, result.structured], ensure_ascii=False)


async def test_a_result_that_does_not_fit_its_schema(make_tool: MakeTool) -> None:
    body = b'{"id": "seven"}'
    async with raw_server(answering(json_head(len(body)), body)) as url:
        tool = await make_tool(url, output_schema=ORDER, **HTTP)
        result = await call_tool(tool, {}, call_id="c1")
    assert result.code == "tool_invalid_result"


# --- Slots --------------------------------------------------------------------------------------
async def test_no_more_calls_at_once_than_its_server_takes(make_tool: MakeTool) -> None:
    begun, go_on = asyncio.Semaphore(0), asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        begun.release()
        await go_on.wait()
        writer.write(json_head(2) + b"\r\nconnection: close\r\n\r\n{}")
        await writer.drain()

    async with raw_server(handle) as url:
        tool = await make_tool(url, server_max_concurrent_calls=2, **HTTP)
        calls = [asyncio.ensure_future(call_tool(tool, {}, call_id=f"c{n}")) for n in range(2)]
        for _ in calls:
            await begun.acquire()
        with pytest.raises(NoSlotError) as refused:
            await call_tool(tool, {}, call_id="c2")
        assert 0 < refused.value.retry_after_seconds <= 5
        calls[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await calls[0]
        third = asyncio.ensure_future(call_tool(tool, {}, call_id="c2"))
        await begun.acquire()
        go_on.set()
        assert not any(result.is_error for result in await asyncio.gather(calls[1], third))


@pytest.mark.parametrize(("is_idempotent", "sent"), [(False, 2), (True, 3)])
async def test_a_kept_connection_that_was_closed(
    make_tool: MakeTool, is_idempotent: bool, sent: int
) -> None:
    """The second call goes over a kept connection, which is closed as it is used: whether it was
    carried out is not known, and so it is sent again only if that does no harm."""
    requests = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        requests += 1
        writer.write(json_head(2) + b"\r\n\r\n{}")
        await writer.drain()
        await read_request(reader)
        requests += 1

    async with raw_server(handle) as url:
        tool = await make_tool(url, is_idempotent=is_idempotent, **HTTP)
        assert not (await call_tool(tool, {}, call_id="c1")).is_error
        result = await call_tool(tool, {}, call_id="c2")
    assert requests == sent
    assert result.code == ("" if is_idempotent else "tool_truncated")


async def test_a_fault_of_aily_is_a_short_error(
    make_tool: MakeTool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*args: Any) -> Any:
        raise RuntimeError("with a secret in it")

    monkeypatch.setattr("chat.tools.http_service.call", broken)
    result = await call_tool(await make_tool("http://127.0.0.1:9", **HTTP), {}, call_id="c1")
    assert (result.code, "secret" in result.text) == ("tool_internal", False)
    assert "a call of the tool echo failed" in caplog.text
