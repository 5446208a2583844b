"""The demo MCP server, as the official client sees it, and what it counts."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from mcp import MCPError
from mcp.client import Client
from mcp.types import ElicitResult

from tests.waiting import eventually


@asynccontextmanager
async def running() -> AsyncIterator[str]:
    """The server as a process. Yields its address."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "aily.demo_mcp_server", "--port", "0"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout is not None
    try:
        line = (await process.stdout.readline()).decode()
        yield line.split()[-1].removesuffix("/mcp")
    finally:
        process.terminate()
        await process.wait()


async def answer(context: Any, params: Any) -> ElicitResult:
    assert params.message == "Which one?"
    return ElicitResult(action="accept", content={"answer": "the second"})


def text_of(result: Any) -> str:
    text: str = result.content[0].text
    return text


async def use_all(url: str, mode: str) -> None:
    """Call each tool once, and `slow` until it is hung up on."""
    async with Client(f"{url}/mcp", mode=mode, elicitation_callback=answer) as client:
        names = [tool.name for tool in (await client.list_tools()).tools]
        assert names == ["clock", "calculate", "slow", "ask", "fail"]
        assert text_of(await client.call_tool("clock", {})).endswith("+00:00")
        sum_of = await client.call_tool("calculate", {"expression": "-2 * (3 + 4.5) / 5"})
        assert float(text_of(sum_of)) == -3
        for wrong in ("__import__('os')", "2 **", "1 / 0", "(" * 150, "1e999 * 'a'", "x" * 300):
            assert (await client.call_tool("calculate", {"expression": wrong})).is_error
        assert text_of(await client.call_tool("slow", {"seconds": 0.01})) == "Waited 0.01 s."
        asked = await client.call_tool("ask", {"question": "Which one?"})
        assert text_of(asked) == "the second"
        failed = await client.call_tool("fail", {"message": "As asked."})
        assert (failed.is_error, "As asked." in text_of(failed)) == (True, True)


async def test_tools_and_counters() -> None:
    async with running() as url, httpx.AsyncClient(base_url=url, timeout=30) as http:
        for mode in ("2026-07-28", "legacy"):
            await http.post("/stats/reset")
            await use_all(url, mode)
            stats = (await http.get("/stats")).json()
            # Arguments of the wrong form reach no tool.
            assert stats["begun"] == {"clock": 1, "calculate": 6, "slow": 1, "ask": 1, "fail": 1}
            assert stats["finished"] == {"clock": 1, "calculate": 1, "slow": 1, "ask": 1}
            assert stats["failed"] == {"calculate": 5, "fail": 1}
            assert stats["finished_calls"]['ask {"question": "Which one?"}'] == 1
        async with Client(f"{url}/mcp", mode="2026-07-28") as client:
            with pytest.raises(MCPError):
                await client.call_tool("slow", {"seconds": 60}, read_timeout_seconds=0.2)

        async def hung_up() -> bool:
            return bool((await http.get("/stats")).json()["cancelled"] == {"slow": 1})

        await eventually(hung_up)
