"""The program that the protocol's conformance tests run as a client: `... URL`.

It lists the server's tools and calls each with what the scenario says, or with arguments made from
the tool's schema, as a worker would. It needs no database.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aily.settings")

import django

django.setup()

from chat.tools import mcp_client  # noqa: E402
from chat.tools.endpoints import Endpoint, OAuthClient  # noqa: E402
from chat.tools.oauth_discovery import discover  # noqa: E402
from chat.tools.results import AskedInput, ToolFault  # noqa: E402

_BY_TYPE: dict[str, Any] = {"string": "x", "boolean": True, "array": []}
#: The tool whose schema another one is sent as an argument.
_FOCAL = "json_schema_2020_12_tool"


def arguments_for(schema: dict[str, Any], focal: dict[str, Any]) -> dict[str, Any]:
    numbers = iter((5, 3, *range(100)))
    values = {**_BY_TYPE, "object": focal}
    return {
        name: values.get(given.get("type"), next(numbers))
        for name, given in schema.get("properties", {}).items()
    }


async def _leave() -> None:
    """Every call may be made."""


async def _endpoint(url: str, context: dict[str, Any]) -> Endpoint:
    oauth = None
    if "client_secret" in context:
        found = await discover(url, None)
        oauth = OAuthClient(
            found.token_url,
            context["client_id"],
            context["client_secret"],
            found.scope,
            found.resource,
        )
    return Endpoint(
        "conformance", url, None, timeout_seconds=20, max_result_bytes=65_536, oauth=oauth
    )


async def main(url: str) -> None:
    context = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT") or "{}")
    endpoint = await _endpoint(url, context)
    listing = await mcp_client.list_tools(endpoint)
    mode = mcp_client.mode_of(listing.protocol_version)
    tools = {tool.name: tool for tool in listing.tools}
    focal = tools[_FOCAL].input_schema if _FOCAL in tools else {}
    calls = context.get("toolCalls") or [
        {"name": tool.name, "arguments": arguments_for(tool.input_schema, focal)}
        for tool in tools.values()
    ]
    for call in calls:
        if call["name"] not in tools:
            continue
        tool = tools[call["name"]]
        request = mcp_client.ToolCallRequest(
            tool.name, call["arguments"], tool.input_schema, is_repeatable=False, leave=_leave
        )
        try:
            answer = await mcp_client.call(endpoint, mode, request)
        except ToolFault as fault:
            sys.stdout.write(f"{tool.name}: {fault.code}: {fault.message}\n")
        else:
            said = answer.message if isinstance(answer, AskedInput) else answer.text
            sys.stdout.write(f"{tool.name}: {said}\n")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[-1]))
