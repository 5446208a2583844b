"""Plain requests to `/mcp`, for what clients do not do, or not on purpose."""

from __future__ import annotations

import json
from itertools import count
from typing import Any

import httpx

from tests.chat.mcp_server.conftest import LEGACY, MODERN

ACCEPT = "application/json, text/event-stream"
TASKS: dict[str, Any] = {"extensions": {"io.modelcontextprotocol/tasks": {}}}
_ids = count(1)


def legacy_headers(key: str, session: str = "") -> dict[str, str]:
    headers = {
        "Authorization": f"Bearer {key}",
        "Accept": ACCEPT,
        "MCP-Protocol-Version": LEGACY,
    }
    return headers | ({"Mcp-Session-Id": session} if session else {})


def modern_headers(key: str, method: str, name: str | None = None) -> dict[str, str]:
    headers = {
        "Authorization": f"Bearer {key}",
        "Accept": ACCEPT,
        "MCP-Protocol-Version": MODERN,
        "Mcp-Method": method,
    }
    return headers | ({"Mcp-Name": name} if name is not None else {})


def message(method: str, params: dict[str, Any], request_id: int | str | None) -> dict[str, Any]:
    body: dict[str, Any] = {"jsonrpc": "2.0", "method": method, "params": params}
    return body if request_id is None else {**body, "id": request_id}


def with_meta(params: dict[str, Any], capabilities: dict[str, Any]) -> dict[str, Any]:
    prefix = "io.modelcontextprotocol"
    meta = {
        f"{prefix}/protocolVersion": MODERN,
        f"{prefix}/clientCapabilities": capabilities,
        f"{prefix}/clientInfo": {"name": "test", "version": "1"},
    }
    return {**params, "_meta": meta}


def parsed(response: httpx.Response) -> Any:
    """The answer of a response, also of a stream whose last event it is."""
    if response.headers["content-type"].startswith("application/json"):
        return response.json()
    lines = [line for line in response.text.splitlines() if line.startswith("data: ")]
    return json.loads(lines[-1].removeprefix("data: "))


async def modern(
    http: httpx.AsyncClient,
    key: str,
    method: str,
    params: dict[str, Any],
    capabilities: dict[str, Any] | None = None,
) -> Any:
    """The answer to a request of the revision 2026-07-28."""
    name = params.get("name") or params.get("taskId")
    response = await http.post(
        "/mcp",
        headers=modern_headers(key, method, name),
        json=message(method, with_meta(params, capabilities or {}), next(_ids)),
    )
    return parsed(response)


async def legacy(
    http: httpx.AsyncClient,
    key: str,
    method: str,
    params: dict[str, Any],
    *,
    request_id: int | str = 1,
    session: str = "",
) -> Any:
    """The answer to a request of an earlier revision."""
    response = await http.post(
        "/mcp",
        headers=legacy_headers(key, session),
        json=message(method, params, request_id),
    )
    return parsed(response)


async def cancel_legacy(
    http: httpx.AsyncClient, key: str, request_id: int | str, session: str = ""
) -> int:
    """Cancel a request of an earlier revision. Returns the status."""
    params = {"requestId": request_id, "reason": "no longer wanted"}
    response = await http.post(
        "/mcp",
        headers=legacy_headers(key, session),
        json=message("notifications/cancelled", params, None),
    )
    return response.status_code
