"""Connections that are kept, given up by their servers, or not secure; responses that go on."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from chat.llm.client import ProviderClient
from chat.llm.errors import ProviderError
from chat.llm.types import TimeLimits
from tests.certificates import write_certificate
from tests.chat.llm.calls import DONE, STOP, chat, collect, text_event, upstream

BODY = text_event("a") + STOP + DONE
#: Of each request on a connection, which of them it is (from 0): what is sent, or the connection
#: closed (b"") or reset (None).
Script = Callable[[int, int], bytes | None]


def answer(body: bytes = BODY, length: int | None = None) -> bytes:
    head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(body) if length is None else length}\r\n\r\n"
    return head.encode() + body


@asynccontextmanager
async def scripted(script: Script) -> AsyncIterator[tuple[str, list[int]]]:
    """A server that sends what `script(connection, request)` says, and the requests that each of
    its connections took."""
    requests: list[int] = []
    handlers: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        handlers.add(task)
        connection = len(requests)
        requests.append(0)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = head.lower().split(b"content-length:")[1].split(b"\r\n")[0]
                await reader.readexactly(int(length))
                sent = script(connection, requests[connection])
                requests[connection] += 1
                if sent is None:
                    writer.transport.abort()
                if not sent:
                    break
                writer.write(sent)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    try:
        yield f"http://{host}:{port}", requests
    finally:
        server.close()
        for task in handlers:
            task.cancel()
        await asyncio.gather(*handlers, return_exceptions=True)


async def _text(client: ProviderClient, url: str) -> str:
    return (await collect(client, upstream(url), chat("hi"))).text


async def _failure(call: Awaitable[object]) -> ProviderError:
    with pytest.raises(ProviderError) as raised:
        await call
    return raised.value


@pytest.mark.parametrize("end", [b"", None], ids=["closed", "reset"])
async def test_kept_connections_that_are_dead_cost_nothing(
    client: ProviderClient, end: bytes | None
) -> None:
    async with scripted(lambda _, request: end if request else answer()) as (url, requests):
        await asyncio.gather(_text(client, url), _text(client, url))
        assert requests == [1, 1]
        # One of the two that are kept is tried, and not the other, which is as dead.
        assert await _text(client, url) == "a"
        assert sorted(requests) == [1, 1, 2]


async def test_a_new_connection_is_tried_once(client: ProviderClient) -> None:
    async with scripted(lambda connection, request: b"" if connection or request else answer()) as (
        url,
        requests,
    ):
        assert await _text(client, url) == "a"
        error = await _failure(_text(client, url))
        assert (error.code, error.retryable) == ("provider_unreachable", True)
        assert requests == [2, 1]


async def test_a_deadline_holds_for_the_second_connection_too(client: ProviderClient) -> None:
    def script(connection: int, request: int) -> bytes | None:
        if connection == 0:
            return b"" if request else answer()
        return b"HTTP/1.1 200 OK\r\n"  # and no more

    async with scripted(script) as (url, _):
        assert await _text(client, url) == "a"
        limits = TimeLimits(first_token_seconds=1)
        call = collect(client, upstream(url), chat("hi"), limits)
        async with asyncio.timeout(20):
            assert (await _failure(call)).code == "provider_timeout_first_token"


async def test_a_response_that_began_is_not_asked_for_again(client: ProviderClient) -> None:
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"

    def script(connection: int, request: int) -> bytes | None:
        return head if request else answer()

    async with scripted(script) as (url, requests):
        assert await _text(client, url) == "a"
        limits = TimeLimits(first_token_seconds=1)
        call = collect(client, upstream(url), chat("hi"), limits)
        assert (await _failure(call)).code == "provider_timeout_first_token"
        assert requests == [2]


@pytest.mark.parametrize(
    "extra",
    [
        answer(text_event("b") + STOP + DONE),
        b"HTTP/1.1 500 x\r\ncontent-length: 4\r\n\r\nbusy",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"garbage",
        text_event("b"),
    ],
    ids=["a response", "an error", "an interim one", "garbage", "more text than said"],
)
@pytest.mark.parametrize("form", ["length", "chunks"])
async def test_what_follows_the_response_is_not_read_into_it(
    client: ProviderClient, form: str, extra: bytes
) -> None:
    chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    whole = chunked + b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
    response = answer() if form == "length" else whole
    async with scripted(lambda *_: response + extra) as (url, requests):
        for _ in range(2):
            got = await collect(client, upstream(url), chat("hi"))
            assert (got.text, got.completion.finish_reason) == ("a", "stop")
        assert requests == [1, 1]  # such a connection takes no further request


async def test_a_response_that_is_longer_than_it_says_is_cut(client: ProviderClient) -> None:
    async with scripted(lambda *_: answer(BODY, length=len(text_event("a")) + 9)) as (url, _):
        assert (await _failure(_text(client, url))).code == "provider_truncated"


async def test_what_came_unasked_is_not_taken_for_a_response(client: ProviderClient) -> None:
    """The event loop has not come to it yet: both wait in the kernel."""
    listener = socket.create_server(("127.0.0.1", 0))
    go_on, is_sent = threading.Event(), threading.Event()

    def serve() -> None:
        for number in range(2):
            connection, _ = listener.accept()
            connection.recv(65536)
            connection.sendall(answer(text_event("ab"[number]) + STOP + DONE))
            go_on.wait(20)
            connection.sendall(answer(text_event("stale") + STOP + DONE))
            is_sent.set()
            connections.append(connection)

    connections: list[socket.socket] = []
    thread = threading.Thread(target=serve)
    thread.start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    try:
        assert await _text(client, url) == "a"
        go_on.set()
        is_sent.wait(20)  # holds the event loop, which is the point
        assert await _text(client, url) == "b"
    finally:
        listener.close()
        thread.join()
        for connection in connections:
            connection.close()


# --- TLS ----------------------------------------------------------------------------------------
@asynccontextmanager
async def tls_server(tmp_path: Path) -> AsyncIterator[str]:
    """A server with a self-signed certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    pem = tmp_path / "localhost.pem"
    write_certificate(pem, "localhost")
    context.load_cert_chain(pem)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context)
    try:
        yield f"https://localhost:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def test_a_certificate_that_is_refused_is_not_tried_again(
    client: ProviderClient, tmp_path: Path
) -> None:
    async with tls_server(tmp_path) as url:
        error = await _failure(_text(client, url))
    assert (error.code, error.retryable) == ("provider_unreachable", False)
    assert "self-signed certificate" in error.message


@asynccontextmanager
async def one_reply(reply: bytes) -> AsyncIterator[str]:
    """A server that sends it, whatever comes, and hangs up."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65536)
        writer.write(reply)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def test_a_server_without_tls_is_not_tried_again(client: ProviderClient) -> None:
    async with one_reply(b"HTTP/1.1 400 Bad Request\r\n\r\n") as url:
        error = await _failure(_text(client, url))
    assert (error.code, error.retryable) == ("provider_unreachable", False)
    assert "no secure connection" in error.message


async def test_a_server_that_hangs_up_in_the_handshake_is_tried_again(
    client: ProviderClient,
) -> None:
    async with one_reply(b"") as url:
        error = await _failure(_text(client, url))
    assert (error.code, error.retryable) == ("provider_unreachable", True)
