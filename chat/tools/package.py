"""Loads the `mcp` package with the first call or listing of an MCP server: a process that makes
none does without it."""

from __future__ import annotations

import asyncio
import importlib

_is_loaded = False


async def load_package() -> None:
    """Import chat/tools/mcp_client.py, which takes 0.4 s of CPU: in a thread, so that other calls
    of this process go on meanwhile."""
    global _is_loaded
    if not _is_loaded:
        await asyncio.to_thread(importlib.import_module, "chat.tools.mcp_client")
        _is_loaded = True
