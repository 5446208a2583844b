"""The path of the MCP server, and its application."""

from __future__ import annotations

from starlette.routing import Route

from aily.http.application import Application
from chat.mcp_server.endpoint import PATH, handle_mcp
from chat.mcp_server.errors import error_response

__all__ = ["PATH", "application"]

application = Application([Route(PATH, handle_mcp, methods=["POST"])], error_response)
