"""What chat/tools/mcp_client.py relies on of the package `mcp`. See docs/private-parts.md."""

from __future__ import annotations

from typing import Any

from mcp import types
from mcp.client import Client
from mcp.client.session import ClientSession
from mcp.server.mcpserver import MCPServer
from mcp_types import CLIENT_CAPABILITIES_META_KEY


async def test_a_session_is_told_which_arguments_go_into_headers() -> None:
    schema = {
        "type": "object",
        "properties": {"region": {"type": "string", "x-mcp-header": "Region"}},
    }
    listed = types.ListToolsResult(tools=[types.Tool(name="a", input_schema=schema)])
    async with Client(MCPServer("empty"), mode="2026-07-28") as client:
        session: ClientSession = client.session
        assert session._absorb_tool_listing(listed, complete=False) is listed
        assert session._resolve_param_headers("a", {"region": "eu"}) == {"Mcp-Param-Region": "eu"}


async def test_a_session_stamps_each_request_with_what_its_client_can_do() -> None:
    async with Client(MCPServer("empty"), mode="2026-07-28") as client:
        data: dict[str, Any] = {"method": "tools/call", "params": {"name": "a"}}
        client.session._stamp(data, {})
        assert data["params"]["_meta"][CLIENT_CAPABILITIES_META_KEY] == {}
        assert client.session.discover_result is not None
    async with Client(MCPServer("empty"), mode="legacy") as client:
        assert client.session.discover_result is None
