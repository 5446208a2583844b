"""Who may call `/mcp`, from where, and how errors are told."""

from __future__ import annotations

import httpx
import pytest
from pytest_django import Settings

from aily.database.threads import in_database
from chat.models import Scene
from tests.chat.mcp_server.conftest import publish
from tests.chat.mcp_server.rpc import legacy_headers, message, modern, modern_headers, with_meta
from tests.subtests import subtested

INITIALIZE = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "test", "version": "1"},
}


@pytest.mark.parametrize("authorization", [None, "Bearer unknown", "Basic dTpw"])
async def test_a_key_is_needed(http: httpx.AsyncClient, authorization: str | None) -> None:
    headers = {"Authorization": authorization} if authorization else {}
    answer = await http.post("/mcp", json=message("ping", {}, 1), headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    body = answer.json()
    assert (body["jsonrpc"], body["id"], body["error"]["code"]) == ("2.0", None, -32600)
    assert answer.headers["x-request-id"]


@subtested(
    ("origin", "status"),
    [
        ("https://evil.example", 403),
        ("null", 403),
        ("http://[", 403),
        ("http://127.0.0.1:1", 403),
        ("https://app.example", 200),
    ],
)
async def test_pages_of_foreign_origins_are_refused(
    http: httpx.AsyncClient, key: str, settings: Settings, origin: str, status: int
) -> None:
    settings.CORS_ALLOWED_ORIGINS = ["https://app.example"]
    headers = {**legacy_headers(key), "Origin": origin}
    answer = await http.post("/mcp", json=message("tools/list", {}, 1), headers=headers)
    assert answer.status_code == status


async def test_own_pages_may_call(http: httpx.AsyncClient, key: str) -> None:
    headers = {**legacy_headers(key), "Origin": str(http.base_url)}
    answer = await http.post("/mcp", json=message("tools/list", {}, 1), headers=headers)
    assert answer.status_code == 200


async def test_a_page_reads_what_it_may(
    http: httpx.AsyncClient, key: str, settings: Settings
) -> None:
    settings.CORS_ALLOWED_ORIGINS = ["https://app.example"]
    settings.CORS_ALLOW_METHODS = ("POST", "OPTIONS")
    wanted = "mcp-protocol-version,mcp-session-id,mcp-method,mcp-name,authorization"
    headers = {
        "Origin": "https://app.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": wanted,
    }
    answer = await http.options("/mcp", headers=headers)
    allowed = answer.headers["access-control-allow-headers"].replace(" ", "").split(",")
    assert answer.status_code == 200
    assert set(wanted.split(",")) <= set(allowed)
    assert answer.headers["access-control-allow-origin"] == "https://app.example"
    assert "Mcp-Session-Id" in answer.headers["access-control-expose-headers"]


async def test_a_foreign_host_is_refused(
    http: httpx.AsyncClient, key: str, settings: Settings
) -> None:
    settings.ALLOWED_HOSTS = ["aily.example"]
    answer = await http.post("/mcp", json=message("ping", {}, 1), headers=legacy_headers(key))
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, -32600)


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT"])
async def test_only_posts_are_answered(http: httpx.AsyncClient, key: str, method: str) -> None:
    answer = await http.request(method, "/mcp", headers=legacy_headers(key))
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


async def test_a_session_is_an_id(http: httpx.AsyncClient, key: str) -> None:
    """Whatever process the next request arrives in."""
    headers = legacy_headers(key)
    began = await http.post("/mcp", json=message("initialize", INITIALIZE, 1), headers=headers)
    session = began.headers["mcp-session-id"]
    listed = await http.post(
        "/mcp", json=message("tools/list", {}, 2), headers=legacy_headers(key, session)
    )
    assert (listed.status_code, "mcp-session-id" in listed.headers) == (200, False)
    noted = await http.post(
        "/mcp",
        json=message("notifications/initialized", {}, None),
        headers=legacy_headers(key, session),
    )
    assert (noted.status_code, noted.content) == (202, b"")


@subtested(
    "body", [b"", b"{", b"[]", b"7", b"{}", b'{"id": NaN}', b'"\\ud800"', b"\xff", b"[" * 100_000]
)
async def test_what_is_no_message_is_refused(
    http: httpx.AsyncClient, key: str, body: bytes
) -> None:
    for headers in (legacy_headers(key), modern_headers(key, "tools/list")):
        answer = await http.post(
            "/mcp", content=body, headers={**headers, "Content-Type": "application/json"}
        )
        assert (answer.status_code, "error" in answer.json()) == (400, True)


async def test_a_body_has_a_bound(http: httpx.AsyncClient, key: str, settings: Settings) -> None:
    settings.REQUEST_MAX_BYTES = 100_000
    long = message("ping", {"text": "x" * 200_000}, 1)
    answer = await http.post("/mcp", json=long, headers=legacy_headers(key))
    assert (answer.status_code, answer.json()["error"]["data"]["code"]) == (413, "too_large")


async def test_unknown_methods_and_versions(http: httpx.AsyncClient, key: str) -> None:
    assert (await modern(http, key, "resources/list", {}))["error"]["code"] == -32601
    headers = {**modern_headers(key, "tools/list"), "MCP-Protocol-Version": "2099-01-01"}
    params = with_meta({}, {})
    params["_meta"]["io.modelcontextprotocol/protocolVersion"] = "2099-01-01"
    answer = await http.post("/mcp", json=message("tools/list", params, 1), headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, -32022)


async def test_pages_of_tools(
    http: httpx.AsyncClient, key: str, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chat.mcp_server.tools.PAGE_TOOLS", 1)
    await in_database(publish, "other")
    first = (await modern(http, key, "tools/list", {}))["result"]
    names = [tool["name"] for tool in first["tools"]]
    second = (await modern(http, key, "tools/list", {"cursor": first["nextCursor"]}))["result"]
    assert names == ["get_task", "cancel_task", "echo"]
    assert ([tool["name"] for tool in second["tools"]], "nextCursor" in second) == (
        ["other"],
        False,
    )
    for cursor in ("a b", "x" * 51):
        refused = await modern(http, key, "tools/list", {"cursor": cursor})
        assert refused["error"]["code"] == -32602
