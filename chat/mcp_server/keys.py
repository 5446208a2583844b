"""Names of the Redis keys of MCP calls."""

from __future__ import annotations


def call_key(api_key_id: int, digest: str) -> str:
    """The key with the task of a call that a legacy client may cancel."""
    return f"aily:mcp:call:{api_key_id}:{digest}"
