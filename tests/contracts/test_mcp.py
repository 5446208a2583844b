"""What chat/tools/mcp_client.py relies on of the package `mcp`. See docs/private-parts.md."""

from __future__ import annotations

from mcp import types
from mcp.client import Client
from mcp.client.session import ClientSession
from mcp.server.mcpserver import MCPServer


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
