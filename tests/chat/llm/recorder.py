"""A provider that keeps what it is sent, byte by byte, and an HTTP proxy on the way to it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from tests.certificates import write_certificate
from tests.chat.llm.calls import DONE, STOP, text_event

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True)
class Recorded:
    """One request. Names of headers are in lower case."""

    line: str
    headers: list[tuple[str, str]]
    content: bytes

    def header(self, name: str) -> str | None:
        [*values] = [value for other, value in self.headers if other == name]
        assert len(values) <= 1, f"{name} is there twice"
        return values[0] if values else None

    @property
    def body(self) -> dict[str, Any]:
        body: dict[str, Any] = msgspec.json.decode(self.content)
        return body


@dataclass
class Recorder:
    port: int = 0
    requests: list[Recorded] = field(default_factory=list)
    connections: int = 0
    #: Sent in place of the answer, where there is any.
    response: bytes = b""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def last(self) -> Recorded:
        return self.requests[-1]

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while (request := await read_request(reader)) is not None:
            self.requests.append(request)
            is_list = request.line.startswith("GET ")
            writer.write(self.response or (_MODELS if is_list else _ANSWER))
            await writer.drain()


_EVENTS = text_event("hello") + STOP + DONE
_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %d\r\n\r\n%b" % (
    len(_EVENTS),
    _EVENTS,
)
_LIST = b'{"object":"list","data":[{"id":"one"},{"id":"two"}]}'
_MODELS = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (
    len(_LIST),
    _LIST,
)


async def read_request(reader: asyncio.StreamReader) -> Recorded | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    line, *others = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    headers = [
        (name.lower(), value) for name, _, value in (line.partition(": ") for line in others)
    ]
    length = int(dict(headers).get("content-length", "0"))
    return Recorded(line, headers, await reader.readexactly(length))


@asynccontextmanager
async def serving(
    handle: Handler, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[int]:
    """A server on a free port of the loopback; what it serves ends with it."""
    tasks: set[asyncio.Task[None]] = set()

    async def tracked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with suppress(asyncio.CancelledError):
            await handle(reader, writer)
        writer.transport.abort()

    server = await asyncio.start_server(tracked, host, 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # for the loop to see that they are gone


@asynccontextmanager
async def running_recorder(tls: ssl.SSLContext | None = None) -> AsyncIterator[Recorder]:
    recorder = Recorder()
    async with serving(recorder.handle, tls) as recorder.port:
        yield recorder


def private_authority(tmp_path: Path, host: str) -> tuple[ssl.SSLContext, str]:
    """A server's TLS, and the PEM of the authority that vouches for it."""
    file = tmp_path / f"{host}.pem"
    write_certificate(file, host)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(file)
    pem = file.read_text()
    return tls, pem[pem.index("-----BEGIN CERTIFICATE") :]


@dataclass
class ProxyServer:
    """Connects to 127.0.0.1, whatever the name. `credentials`: what it wants to be shown."""

    credentials: str = ""
    port: int = 0
    lines: list[str] = field(default_factory=list)
    shown: list[str | None] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await read_request(reader)
        if request is None:
            return
        self.lines.append(request.line)
        self.shown.append(request.header("proxy-authorization"))
        if self.credentials and self.shown[-1] != self.credentials:
            writer.write(b"HTTP/1.1 407 Who are you\r\ncontent-length: 0\r\n\r\n")
            return
        method, target, _ = request.line.split(" ")
        if method == "CONNECT":
            writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
            await self._tunnel(reader, writer, int(target.rpartition(":")[2]))
            return
        await self._forward(request, target, writer)

    async def _tunnel(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int
    ) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port)
        copying = [
            asyncio.ensure_future(_copy(reader, back)),
            asyncio.ensure_future(_copy(there, writer)),
        ]
        try:
            await asyncio.wait(copying, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for copy in copying:
                copy.cancel()
            await asyncio.gather(*copying, return_exceptions=True)
            back.transport.abort()

    async def _forward(self, request: Recorded, target: str, writer: asyncio.StreamWriter) -> None:
        """An absolute URL: the request goes on without its host, and what comes back goes back."""
        host, _, path = target.removeprefix("http://").partition("/")
        there, back = await asyncio.open_connection("127.0.0.1", int(host.rpartition(":")[2]))
        kept = [(name, value) for name, value in request.headers if not name.startswith("proxy-")]
        head = "\r\n".join(
            [f"POST /{path} HTTP/1.1", *(f"{name}: {value}" for name, value in kept)]
        )
        back.write(head.encode() + b"\r\n\r\n" + request.content)
        try:
            await _copy(there, writer)
        finally:
            back.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while piece := await reader.read(65_536):
            writer.write(piece)
            await writer.drain()


@asynccontextmanager
async def running_proxy(credentials: str = "") -> AsyncIterator[ProxyServer]:
    proxy = ProxyServer(credentials)
    async with serving(proxy.handle) as proxy.port:
        yield proxy
