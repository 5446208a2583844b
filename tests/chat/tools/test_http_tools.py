"""Tools over plain HTTP: where arguments go, credentials, and what is made of answers."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from chat.models import ToolServerKind
from chat.tools.calling import call_tool
from chat.tools.openapi_fetch import fetch_document
from chat.tools.openapi_operations import operations_of
from chat.tools.results import ToolFault
from tests.chat.tools.conftest import MakeTool, raw_server, read_request
from tests.chat.tools.openapi import OPENAPI


class Service:
    """An HTTP service: notes requests, and answers as it is told."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[tuple[str, dict[str, str], Any]] = []
        self.answers: list[tuple[int, str, bytes]] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raw = await read_request(reader)
        head, _, body = raw.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (x.partition(": ") for x in lines)}
        decoded = body.decode()
        if "json" in headers.get("content-type", ""):
            decoded = json.loads(body)
        self.requests.append((first.removesuffix(" HTTP/1.1"), headers, decoded))
        status, kind, content = self.answers.pop(0) if self.answers else OK
        writer.write(
            b"HTTP/1.1 %d X\r\ncontent-type: %s\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
            % (status, kind.encode(), len(content))
            + content
        )
        await writer.drain()
        writer.close()


OK = (200, "application/json", b'{"done": true}')


@pytest.fixture
async def service(tool_loop: None) -> AsyncIterator[Service]:
    service = Service()
    server = await asyncio.start_server(service.serve, "127.0.0.1", 0)
    service.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield service
    server.close()


async def make(make_tool: MakeTool, service: Service, path: str = "", **fields: Any) -> Any:
    given = {"method": "POST", **fields}
    return await make_tool(
        f"{service.url}/base/?v=1", path=path, server_kind=ToolServerKind.HTTP, **given
    )


async def test_arguments_go_into_the_json_body(service: Service, make_tool: MakeTool) -> None:
    tool = await make(make_tool, service, "/orders")
    result = await call_tool(tool, {"id": 7, "tags": ["a"]}, call_id="call-1")
    assert (result.structured, result.text) == ({"done": True}, '{"done": true}')
    ((line, headers, body),) = service.requests
    assert (line, body) == ("POST /base/orders?v=1", {"id": 7, "tags": ["a"]})
    assert headers["idempotency-key"] == "call-1"


async def test_arguments_go_where_the_tool_says(service: Service, make_tool: MakeTool) -> None:
    parameters = {
        "order": {"in": "path", "name": "id"},
        "tags": {"in": "query", "name": "tag"},
        "trace": {"in": "header", "name": "x-trace"},
        "size": {"in": "body", "name": "Size"},
    }
    tool = await make(
        make_tool, service, "/orders/{id}/{line}", method="PUT", parameters=parameters
    )
    arguments = {"order": "a/b c", "line": 3, "tags": ["x", "y&z"], "trace": "t1", "size": 2}
    await call_tool(tool, {**arguments, "note": None}, call_id="c1")
    ((line, headers, body),) = service.requests
    assert line == "PUT /base/orders/a%2Fb%20c/3?v=1&tag=x&tag=y%26z"
    assert (headers["x-trace"], body) == ("t1", {"Size": 2, "note": None})


async def test_a_get_sends_a_query(service: Service, make_tool: MakeTool) -> None:
    tool = await make(make_tool, service, "/search", method="GET")
    await call_tool(tool, {"q": "Grüße", "deep": True, "no": None}, call_id="c1")
    ((line, headers, body),) = service.requests
    assert line == "GET /base/search?v=1&q=Gr%C3%BC%C3%9Fe&deep=true"
    assert (body, "content-length" in headers) == ("", False)


async def test_an_argument_that_is_the_whole_body(service: Service, make_tool: MakeTool) -> None:
    parameters = {"body": {"in": "body", "name": ""}}
    tool = await make(make_tool, service, "/bulk", parameters=parameters)
    await call_tool(tool, {"body": [1, 2]}, call_id="c1")
    assert service.requests[0][2] == [1, 2]


@pytest.mark.parametrize(
    "value", ["..", ".", "", "../../admin", "a/../..", "x\r\nhost: evil", "?a=b", "#", "%2e%2e"]
)
async def test_arguments_do_not_leave_their_part_of_the_path(
    service: Service, make_tool: MakeTool, value: str
) -> None:
    tool = await make(make_tool, service, "/orders/{id}/lines")
    result = await call_tool(tool, {"id": value}, call_id="c1")
    if result.is_error:
        assert (result.code, service.requests) == ("tool_invalid_arguments", [])
    else:
        ((line, _, _),) = service.requests
        assert line.startswith("POST /base/orders/")
        assert line.count("/") == 4
        assert ".." not in line.split("/")


@pytest.mark.parametrize("value", ["a\r\nx-evil: 1", "ü", "a\0"])
async def test_arguments_that_no_header_takes(
    service: Service, make_tool: MakeTool, value: str
) -> None:
    parameters = {"trace": {"in": "header", "name": "x-trace"}}
    tool = await make(make_tool, service, "/x", parameters=parameters)
    result = await call_tool(tool, {"trace": value}, call_id="c1")
    assert (result.code, service.requests) == ("tool_invalid_arguments", [])


async def test_an_argument_does_not_replace_credentials(
    service: Service, make_tool: MakeTool
) -> None:
    parameters = {"key": {"in": "header", "name": "x-key"}}
    tool = await make(
        make_tool,
        service,
        parameters=parameters,
        server_auth="header",
        server_key_header="x-key",
        server_secret="the secret of the server",
    )
    await call_tool(tool, {"key": "mine"}, call_id="c1")
    assert service.requests[0][1]["x-key"] == "the secret of the server"


@pytest.mark.parametrize(
    ("kind", "content", "text"),
    [
        ("text/plain; charset=iso-8859-1", "Größe".encode("latin-1"), "Größe"),
        ("text/html", b"<p>Hi</p>", "<p>Hi</p>"),
        ("application/problem+json", b'{"a": 1}', '{"a": 1}'),
        ("image/png", b"\x89PNG", "[image/png, 4 bytes, not shown]"),
        ("application/json", b"[1]", "[1]"),
    ],
)
async def test_answers(
    service: Service, make_tool: MakeTool, kind: str, content: bytes, text: str
) -> None:
    service.answers = [(200, kind, content)]
    result = await call_tool(await make(make_tool, service), {}, call_id="c1")
    assert (result.text, result.is_error) == (text, False)


async def test_an_error_says_why(service: Service, make_tool: MakeTool) -> None:
    service.answers = [(404, "application/json", b'{"detail": "There is no order 7."}')]
    result = await call_tool(await make(make_tool, service), {}, call_id="c1")
    assert result.code == "tool_http_error"
    assert "HTTP 404" in result.text
    assert "There is no order 7." in result.text


# --- OAuth client credentials -------------------------------------------------------------------
TOKEN = (200, "application/json", b'{"access_token": "t1", "expires_in": 3600}')
TOKEN_2 = (200, "application/json", b'{"access_token": "t2", "token_type": "bearer"}')


def oauth(service: Service) -> dict[str, str]:
    return {
        "server_auth": "oauth",
        "server_oauth_token_url": f"{service.url}/token",
        "server_oauth_client_id": "aily:client",
        "server_oauth_scope": "orders.read",
        "server_secret": "client-secret-value",
    }


async def test_a_token_is_asked_for_once(service: Service, make_tool: MakeTool) -> None:
    service.answers = [TOKEN, OK, OK]
    tool = await make(make_tool, service, **oauth(service))
    for number in range(2):
        assert not (await call_tool(tool, {}, call_id=f"c{number}")).is_error
    (asked, *calls) = service.requests
    pair = base64.b64encode(b"aily%3Aclient:client-secret-value").decode()
    assert (asked[0], asked[1]["authorization"]) == ("POST /token", f"Basic {pair}")
    assert asked[2] == "grant_type=client_credentials&scope=orders.read"
    assert [headers["authorization"] for _, headers, _ in calls] == ["Bearer t1"] * 2


async def test_a_refused_token_is_asked_for_anew(service: Service, make_tool: MakeTool) -> None:
    refused = (401, "text/plain", b"")
    service.answers = [TOKEN, refused, TOKEN_2, OK, refused, TOKEN, refused]
    tool = await make(make_tool, service, **oauth(service))
    assert not (await call_tool(tool, {}, call_id="c1")).is_error
    assert service.requests[-1][1]["authorization"] == "Bearer t2"
    # One that is refused as well is not asked for for ever.
    assert (await call_tool(tool, {}, call_id="c2")).code == "tool_auth"
    assert len(service.requests) == 7


@pytest.mark.parametrize(
    "answer",
    [
        (400, "application/json", b'{"error": "invalid_client"}'),
        (200, "application/json", b"{}"),
        (200, "text/html", b"<html>"),
        (302, "text/plain", b""),
        (200, "application/json", b'{"access_token": "a\\nb"}'),
        (200, "application/json", b'{"access_token": "' + b"a" * 100_000 + b'"}'),
    ],
)
async def test_no_token(
    service: Service, make_tool: MakeTool, answer: tuple[int, str, bytes]
) -> None:
    service.answers = [answer]
    tool = await make(make_tool, service, **oauth(service))
    result = await call_tool(tool, {}, call_id="c1")
    assert (result.code, len(service.requests)) == ("tool_auth", 1)
    assert "client-secret-value" not in result.text


async def test_leave_to_call_is_asked_for_when_the_token_is_there(
    service: Service, make_tool: MakeTool
) -> None:
    """A token may take long to come: the tool may have been disabled meanwhile."""
    service.answers = [TOKEN]
    tool = await make(make_tool, service, **oauth(service))

    async def may_begin() -> bool:
        assert [request for request, _, _ in service.requests] == ["POST /token"]
        return False

    result = await call_tool(tool, {}, call_id="c1", may_begin=may_begin)
    assert (result.code, len(service.requests)) == ("tool_unavailable", 1)


async def test_a_secret_of_another_secret_key(service: Service, make_tool: MakeTool) -> None:
    tool = await make(make_tool, service, server_auth="bearer", server_secret="x")
    tool.server.encrypted_secret = "no token of ours"
    result = await call_tool(tool, {}, call_id="c1")
    assert (result.code, service.requests) == ("tool_auth", [])


async def test_a_raw_server_is_asked_over_a_kept_connection(make_tool: MakeTool) -> None:
    connections = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while True:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
            await writer.drain()
            await read_request(reader)

    async with raw_server(handle) as url:
        tool = await make_tool(url, method="GET", server_kind=ToolServerKind.HTTP)
        for number in range(3):
            assert (await call_tool(tool, {}, call_id=f"c{number}")).text == "ok"
    assert connections == 1


# --- Documents ----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"openapi: 3.1.0\npaths:\n  /on:\n    get: {operationId: getOrder}\n", ""),
        (b"openapi: 3.0.3\npaths: {/a: {post: {operationId: getOrder, x: 2020-01-01}}}", ""),
        (b"a: &big [x, x]\nb: [*big, *big]\n", "aliases"),
        (b"a: [1,\n", "see line 2"),
        (b"{not: json}", "no JSON"),
        (b"a: !!python/object/apply:os.system [ls]", "neither JSON nor YAML"),
        (b"- " * 200_000, "neither JSON nor YAML"),
        (b"a: 1\n" * 500_000, "may have 2097152 bytes"),
        (b"\xff\xfe\x00", "neither JSON nor YAML"),
    ],
)
async def test_documents_of_yaml(
    service: Service, make_tool: MakeTool, content: bytes, problem: str
) -> None:
    service.answers = [(200, "text/yaml", content)]
    tool = await make(make_tool, service)
    fetched = fetch_document(tool.server, f"{service.url}/openapi.yaml")
    if problem:
        with pytest.raises(ToolFault, match=problem) as refused:
            await fetched
        assert refused.value.code == "tool_invalid_response"
    else:
        assert [operation.key for operation in operations_of(await fetched)] == ["getOrder"]


async def test_a_document_is_fetched_with_credentials_from_its_own_host_alone(
    service: Service, make_tool: MakeTool
) -> None:
    document = json.dumps(OPENAPI).encode()
    answer = (200, "application/json", document)
    service.answers = [answer, answer, (404, "text/plain", b""), (200, "text/yaml", b"- [")]
    tool = await make(make_tool, service, server_auth="bearer", server_secret="the secret")
    for host, sent in (("127.0.0.1", "Bearer the secret"), ("localhost", None)):
        url = f"{service.url}/openapi.json".replace("127.0.0.1", host)
        assert operations_of(await fetch_document(tool.server, url))[0].key == "getOrder"
        assert service.requests[-1][1].get("authorization") == sent
    for code in ("tool_http_error", "tool_invalid_response"):
        with pytest.raises(ToolFault) as refused:
            await fetch_document(tool.server, f"{service.url}/openapi.json")
        assert refused.value.code == code


# --- What a server repeats ----------------------------------------------------------------------
SECRET = 'sk-"012345\\6789abcdef'


@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize("kind", ["text/plain", "application/json"])
async def test_a_secret_that_is_echoed_is_not_shown(
    service: Service, make_tool: MakeTool, status: int, kind: str
) -> None:
    """As by a service that shows the headers of requests."""
    echo = msgspec.json.encode({"headers": {"authorization": f"Bearer {SECRET}"}, "n": 1})
    service.answers = [(status, kind, echo)]
    tool = await make(make_tool, service, server_auth="bearer", server_secret=SECRET)
    result = await call_tool(tool, {}, call_id="c1")
    assert "Bearer ***" in result.text
    assert "6789abcdef" not in str(result)
    if kind == "application/json" and status == 200:
        assert result.structured == {"headers": {"authorization": "Bearer ***"}, "n": 1}


@pytest.mark.parametrize("status", [200, 500])
async def test_a_token_that_is_echoed_is_not_shown(
    service: Service, make_tool: MakeTool, status: int
) -> None:
    token = (200, "application/json", b'{"access_token": "t-0123456789", "expires_in": 3600}')
    service.answers = [token, (status, "text/plain", b"authorization: Bearer t-0123456789")]
    result = await call_tool(await make(make_tool, service, **oauth(service)), {}, call_id="c1")
    assert "authorization: Bearer ***" in result.text
    assert "t-0123456789" not in str(result)
