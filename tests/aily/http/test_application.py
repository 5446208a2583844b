"""What every answer of an application beside Django's has: an id, a metric, a form of errors."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from django.db import OperationalError
from prometheus_client import REGISTRY
from pytest_django import Settings
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from aily.http.application import Application
from aily.http.bodies import read_json
from aily.http.errors import problem_of
from aily.problems import Conflict
from aily.web.cors import ALLOWED_HEADERS


async def item(request: Request) -> Response:
    return Response(request.path_params["name"], media_type="text/plain")


async def add(request: Request) -> Response:
    return Response(repr(await read_json(request)), 201)


async def refuse(request: Request) -> Response:
    raise Conflict("It is so.")


async def break_down(request: Request) -> Response:
    raise ZeroDivisionError


async def outage(request: Request) -> Response:
    raise OperationalError("server closed the connection unexpectedly")


def error_response(request: Request, error: Exception) -> Response:
    problem = problem_of(request, error)
    return Response(problem.code, problem.status, problem.headers)


ROUTES = [
    Route("/x/items/{name:path}", item),
    Route("/x/items", add, methods=["POST"]),
    Route("/x/refuse", refuse),
    Route("/x/break", break_down),
    Route("/x/outage", outage),
]


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(Application(ROUTES, error_response), raise_app_exceptions=True)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://localhost", timeout=30
    ) as client:
        yield client


@pytest.mark.parametrize(
    ("method", "path", "status", "text"),
    [
        ("GET", "/x/items/a", 200, "a"),
        ("HEAD", "/x/items/a", 200, "a"),
        ("GET", "/x/items/a%2Fb", 200, "a/b"),
        ("GET", "/x/items", 405, "method_not_allowed"),
        ("POST", "/x/items/a", 405, "method_not_allowed"),
        ("GET", "/x/none", 404, "not_found"),
        ("GET", "/x/items/%00", 404, "not_found"),
        ("GET", "/x/refuse", 409, "conflict"),
        ("GET", "/x/break", 500, "internal_server_error"),
        ("GET", "/x/outage", 503, "unavailable"),
        ("BREW", "/x/refuse", 405, "method_not_allowed"),
    ],
)
async def test_each_request_is_answered_with_an_id(
    client: httpx.AsyncClient, method: str, path: str, status: int, text: str
) -> None:
    answer = await client.request(method, path)
    assert (answer.status_code, answer.text) == (status, text if method != "HEAD" else answer.text)
    assert len(answer.headers["x-request-id"]) == 16
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_a_wrong_method_names_the_right_ones(client: httpx.AsyncClient) -> None:
    answer = await client.get("/x/items")
    assert answer.headers["allow"] == "POST"


async def test_an_id_of_the_caller_is_kept_if_it_is_sane(client: httpx.AsyncClient) -> None:
    for given, kept in (("call-7", True), ("x" * 65, False), ("a b", False)):
        answer = await client.get("/x/items/a", headers={"x-request-id": given})
        assert (answer.headers["x-request-id"] == given) is kept


async def test_a_fault_is_logged(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        await client.get("/x/break")
        await client.get("/x/outage")
    assert [(record.levelname, record.exc_info is not None) for record in caplog.records] == [
        ("ERROR", True),
        ("WARNING", False),
    ]


def count_of(route: str, status: str) -> float:
    labels = {"method": "GET", "route": route, "status": status}
    return REGISTRY.get_sample_value("aily_http_request_duration_seconds_count", labels) or 0


async def test_requests_are_counted_by_the_template_of_their_path(
    client: httpx.AsyncClient,
) -> None:
    before = [count_of("x/items/{name:path}", "200"), count_of("", "404")]
    await client.get("/x/items/one")
    await client.get("/x/items/two")
    await client.get("/x/none")
    after = [count_of("x/items/{name:path}", "200"), count_of("", "404")]
    assert [now - then for now, then in zip(after, before, strict=True)] == [2, 1]


@pytest.mark.parametrize(
    ("body", "media_type", "status", "text"),
    [
        (b'{"a": [1]}', "application/json", 201, "{'a': [1]}"),
        (b'{"a": 1}', "application/json; charset=utf-8", 201, "{'a': 1}"),
        (b'{"a": 1}', "text/plain", 415, "unsupported_media_type"),
        (b"{", "application/json", 400, "invalid_request"),
        (b'{"a": "\\u0000"}', "application/json", 400, "invalid_request"),
        (b"", "application/json", 400, "invalid_request"),
    ],
)
async def test_bodies_are_strict_json(
    client: httpx.AsyncClient, body: bytes, media_type: str, status: int, text: str
) -> None:
    headers = {"content-type": media_type}
    answer = await client.post("/x/items", content=body, headers=headers)
    assert (answer.status_code, answer.text) == (status, text)


async def test_a_host_that_is_not_ours_is_refused(client: httpx.AsyncClient) -> None:
    for host in ("evil.example", "", "localhost:x y"):
        answer = await client.get("/x/items/a", headers={"host": host})
        assert (answer.status_code, answer.text) == (400, "invalid_request")


async def test_plain_http_is_redirected_where_https_is_required(
    client: httpx.AsyncClient, settings: Settings
) -> None:
    settings.SECURE_SSL_REDIRECT = True
    settings.SECURE_HSTS_SECONDS = 60
    answer = await client.get("/x/items/a?b=c")
    assert answer.status_code == 301
    assert answer.headers["location"] == "https://localhost/x/items/a?b=c"
    settings.BEHIND_PROXY = True
    answer = await client.get("/x/items/a", headers={"x-forwarded-proto": "https"})
    assert answer.status_code == 200
    assert answer.headers["strict-transport-security"] == "max-age=60"


async def test_pages_of_allowed_origins_may_use_openais_clients(
    client: httpx.AsyncClient, settings: Settings
) -> None:
    settings.CORS_ALLOWED_ORIGINS = ["https://app.example"]
    settings.CORS_ALLOW_METHODS = ("GET", "POST")
    asked = "authorization, content-type, x-stainless-lang, x-stainless-new-thing, x-evil"
    preflight = {
        "origin": "https://app.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": asked,
    }
    answer = await client.options("/v1/chat/completions", headers=preflight)
    allowed = answer.headers["access-control-allow-headers"].split(", ")
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "https://app.example"
    assert {"x-stainless-lang", "x-stainless-new-thing", *ALLOWED_HEADERS} <= {*allowed}
    assert "x-evil" not in allowed
    other = {**preflight, "origin": "https://evil.example"}
    answer = await client.options("/v1/chat/completions", headers=other)
    assert not [name for name in answer.headers if name.startswith("access-control-")]
    answer = await client.get("/v1/none", headers={"origin": "https://app.example"})
    assert "X-Request-ID" in answer.headers["access-control-expose-headers"]


async def test_a_client_that_leaves_in_its_body_is_not_answered() -> None:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/x/items",
        "scheme": "http",
        "headers": [(b"host", b"localhost")],
        "query_string": b"",
    }
    await Application(ROUTES, error_response)(scope, receive, send)
    assert sent == []
