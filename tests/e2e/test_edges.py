"""What anybody can send to a web server's doors, behind each of those offered."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import socket as sockets
from collections.abc import Iterator
from uuid import uuid4

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.client import RestClient, chat_socket
from tests.e2e.conftest import Keys
from tests.e2e.web_servers import EACH_WEB_SERVER, WebServer, running_web_server
from tests.stack import Stack

MIB = 1_048_576
#: What a flooding client may take of a process, with what Python keeps of it for later.
MAX_GROWTH_BYTES = 16 * MIB


@pytest.fixture(scope="module", params=EACH_WEB_SERVER)
def server(stack: Stack, request: pytest.FixtureRequest) -> Iterator[WebServer]:
    with running_web_server(stack, request.param) as server:
        yield server


# --- Paths --------------------------------------------------------------------------------------
@pytest.mark.parametrize("path", ["/ws/", "/ws/nothing/", "/ws/llmchat", "/elsewhere"])
async def test_a_handshake_for_an_unknown_path_is_a_404(
    server: WebServer, keys: Keys, path: str
) -> None:
    url = server.base_url.replace("http", "ws", 1) + path
    for headers in ({}, {"Authorization": f"Bearer {keys.alice}"}):
        with pytest.raises(InvalidStatus) as refused:
            await connect(url, additional_headers=headers)
        assert refused.value.response.status_code == 404
        assert json.loads(refused.value.response.body)["code"] == "not_found"


@pytest.mark.parametrize("path", ["/api", "/api/x", "/ws/llmchat/"])
async def test_an_unknown_path_for_programs_is_a_problem(server: WebServer, path: str) -> None:
    async with RestClient(server.base_url, None) as client:
        for method in ("GET", "POST"):
            answer = await client.call(method, path, allow_redirects=False)
            assert (answer.status, answer.body["code"]) == (404, "not_found")


@pytest.mark.parametrize("path", ["/v1", "/v1/", "/v1/nothing", "/v1/models/", "/v1/%00"])
async def test_an_unknown_path_of_openai_is_an_error_in_its_form(
    server: WebServer, path: str
) -> None:
    async with RestClient(server.base_url, None) as client:
        for method in ("GET", "POST", "DELETE"):
            answer = await client.call(method, path, allow_redirects=False)
            assert (answer.status, answer.body["error"]["code"]) == (404, "not_found")
            assert "x-request-id" in {name.lower() for name in answer.headers}


async def test_a_body_of_openai_that_is_too_large_is_an_error_in_its_form(
    server: WebServer, keys: Keys
) -> None:
    for key, size, status in ((keys.alice, 20 * MIB, 413), (keys.revoked, 100_000, 401)):
        head, body = await raw_request(server, "/v1/models", key, size)
        assert head.startswith(b"HTTP/1.1 %d" % status), head
        assert b"x-request-id:" in head.lower()
        assert json.loads(body)["error"].keys() == {"message", "type", "param", "code"}


@pytest.mark.parametrize(("path", "form"), [("/v1/models", "error"), ("/api/me", "code")])
async def test_what_daphne_refuses_by_itself_is_an_error_in_the_form_of_its_path(
    server: WebServer, path: str, form: str
) -> None:
    if server.name != "daphne":
        pytest.skip("uvicorn takes such bytes")
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nX: a\x0bb\r\n\r\n".encode())
    async with asyncio.timeout(10):
        head, body = await read_answer(reader)
    writer.close()
    assert head.startswith(b"HTTP/1.1 400 Bad Request")
    assert b"x-request-id:" in head.lower()
    assert form in json.loads(body)


async def read_answer(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Head and body of an answer of a known length."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        int(line.partition(b":")[2])
        for line in head.lower().splitlines()
        if line.startswith(b"content-length:")
    )
    return head, await reader.readexactly(length)


async def raw_request(server: WebServer, path: str, key: str, size: int) -> tuple[bytes, bytes]:
    """The answer to a request that announces a body and sends none of it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Length: {size}\r\nContent-Type: application/json\r\n\r\n".encode()
    )
    try:
        return await read_answer(reader)
    finally:
        writer.close()


# --- Sockets that send and do not read ----------------------------------------------------------
class RawSocket:
    """A WebSocket of plain bytes, which reads only what it wants to."""

    def __init__(self, server: WebServer, key: str) -> None:
        self._socket = sockets.socket()
        # Answers that nobody reads wait with the server soon.
        self._socket.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
        self._socket.connect(("127.0.0.1", server.port))
        nonce = base64.b64encode(os.urandom(16)).decode()
        self._socket.sendall(
            f"GET /ws/llmchat/ HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {nonce}\r\n"
            f"Sec-WebSocket-Version: 13\r\nAuthorization: Bearer {key}\r\n\r\n".encode()
        )
        while b'"hello"' not in self._socket.recv(65_536):
            pass

    def flood(self, frames: bytes, size: int) -> int:
        """Send up to `size` bytes of these frames. Returns what was taken until it would block for
        half a second."""
        self._socket.settimeout(0.5)
        sent = 0
        rest = b""
        while sent < size:
            rest = rest or frames
            try:
                taken = self._socket.send(rest)
            except TimeoutError:
                break
            sent, rest = sent + taken, rest[taken:]
        return sent

    def close(self) -> None:
        self._socket.close()


def frame(payload: bytes, first: int = 0x81) -> bytes:
    """Masked with zeros, which changes nothing."""
    size = len(payload)
    if size < 126:
        head = bytes([first, 0x80 | size])
    elif size < 65_536:
        head = bytes([first, 0xFE]) + size.to_bytes(2)
    else:
        head = bytes([first, 0xFF]) + size.to_bytes(8)
    return head + bytes(4) + payload


FLOODS = {
    "cancels": frame(
        b'{"type":"task.cancel","ref":"%b","task_id":"%b"}' % (b"x" * 100, str(uuid4()).encode())
    )
    * 1000,
    "pings of the protocol": frame(b"x" * 100, first=0x89) * 1000,
    "submits": frame(
        b'{"type":"task.submit","scene":"nothing","variables":{"text":"' + b"x" * 200_000 + b'"}}'
    ),
}


@pytest.mark.parametrize("kind", FLOODS)
@pytest.mark.parametrize("server", EACH_WEB_SERVER, indirect=True)
async def test_a_socket_that_sends_and_does_not_read_takes_little_memory(
    server: WebServer, keys: Keys, kind: str
) -> None:
    for size in (4 * MIB, 32 * MIB):
        # The first makes the process load what it needs once.
        before = server.memory_bytes()
        flooding = await asyncio.to_thread(RawSocket, server, keys.bob)
        try:
            sent = await asyncio.to_thread(flooding.flood, FLOODS[kind], size)
            async with chat_socket(server.base_url, keys.alice) as other:
                await other.ping()
            growth = server.memory_bytes() - before
        finally:
            flooding.close()
    assert growth < MAX_GROWTH_BYTES, f"of {sent} bytes"


# --- Bodies -------------------------------------------------------------------------------------
async def answer_to(server: WebServer, head: str, body: bytes = b"") -> tuple[int, bytes]:
    """Status and rest of the answer to a head and what there is of its body, which never ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        writer.write(f"{head}\r\nHost: 127.0.0.1\r\n\r\n".encode() + body)
        async with asyncio.timeout(10):
            status = await reader.readline()
            rest = await reader.readuntil(b"\r\n\r\n")
            return int(status.split()[1]), rest
    finally:
        writer.transport.abort()


POST = "POST /api/llmchat/request HTTP/1.1\r\nContent-Type: application/json\r\n"
WRONG_KEY = "Authorization: Bearer aily_of-nobody\r\n"
CHUNK = b"10000\r\n" + b" " * 65_536 + b"\r\n"


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (POST + "Content-Length: 1000000", 401),
        (POST + WRONG_KEY + "Content-Length: 1000000", 401),
        (POST + WRONG_KEY + "Transfer-Encoding: chunked", 401),
        (POST + WRONG_KEY + "Content-Length: 100000000000", 413),
        ("POST /login/ HTTP/1.1\r\nContent-Length: 1000000", 413),
    ],
)
async def test_a_body_of_nobody_known_is_refused_before_it_is_there(
    server: WebServer, head: str, status: int
) -> None:
    got, rest = await answer_to(server, head, b"10\r\n" if "chunked" in head else b"{")
    assert got == status
    assert (b"www-authenticate" in rest.lower()) == (status == 401)


async def test_a_body_over_the_limit_is_refused_while_it_comes(
    server: WebServer, keys: Keys
) -> None:
    head = POST + f"Authorization: Bearer {keys.alice}\r\n"
    assert (await answer_to(server, head + "Content-Length: 10000000"))[0] == 413
    assert (await answer_to(server, head + "Transfer-Encoding: chunked", CHUNK * 150))[0] == 413
    # One that anonymous callers could not send, in either way.
    text = "x" * 200_000
    messages = [{"role": "user", "content": f"{text} [sim:latency=0,tokens=1,tps=0]"}]
    body = json.dumps({"messages": messages}).encode()
    length = f"Content-Length: {len(body)}"
    assert (await answer_to(server, head + length, body))[0] == 202
    chunked = f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n"
    assert (await answer_to(server, head + "Transfer-Encoding: chunked", chunked))[0] == 202


async def test_a_head_without_end_is_refused(server: WebServer) -> None:
    endless = "GET /livez HTTP/1.1\r\n" + "".join(
        f"X-{number}: {'x' * 4000}\r\n" for number in range(250)
    )
    try:
        status, _ = await answer_to(server, endless.rstrip())
    except (ConnectionError, asyncio.IncompleteReadError):
        return
    assert status in (400, 431)
