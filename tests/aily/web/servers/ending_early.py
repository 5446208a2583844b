"""An application whose responses end in the middle: `/raises`, `/is_cancelled`; else whole."""

from __future__ import annotations

import asyncio
from typing import Any, cast


async def application(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"begun", "more_body": True})
    if scope["path"] == "/raises":
        raise RuntimeError("in the middle")
    if scope["path"] == "/is_cancelled":
        cast("asyncio.Task[None]", asyncio.current_task()).cancel()
        await asyncio.sleep(0)
    await send({"type": "http.response.body", "body": b", ended", "more_body": False})
