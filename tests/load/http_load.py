"""N non-streamed chat completions at once, from a process of its own.

Arguments: URL of the API, tasks, seconds over which they are sent. The key is LITELLM_MASTER_KEY in
the environment. Prints JSON: seconds of each answered request, and errors.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from typing import Any

import aiohttp
import uvloop

from tests.load.recording import MODEL, Wave

_PATIENCE_SECONDS = 120


async def load(url: str, tasks: int, ramp_seconds: float) -> dict[str, Any]:
    """Each request at its time, whatever became of those before."""
    wave = Wave(tasks=tasks, timeout_seconds=0)
    seconds: list[float] = []
    errors: list[str] = []

    async def one(number: int, session: aiohttp.ClientSession) -> None:
        await asyncio.sleep(number * ramp_seconds / tasks)
        body = {
            "model": MODEL,
            "messages": [{"role": "user", "content": wave.text_of(number)}],
        }
        sent_at = time.monotonic()
        try:
            async with session.post(f"{url}/chat/completions", json=body) as response:
                answer = await response.json(content_type=None)
                if response.status != 200 or not answer["choices"][0]["message"]["content"]:
                    errors.append(f"{response.status}: {str(answer)[:200]}")
                    return
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            errors.append(repr(error))
            return
        seconds.append(time.monotonic() - sent_at)

    timeout = aiohttp.ClientTimeout(total=_PATIENCE_SECONDS)
    connector = aiohttp.TCPConnector(limit=0)
    headers = {"Authorization": f"Bearer {os.environ['LITELLM_MASTER_KEY']}"}
    async with aiohttp.ClientSession(
        connector=connector, timeout=timeout, headers=headers
    ) as session:
        await asyncio.gather(*(one(number, session) for number in range(tasks)))
    return {"seconds": seconds, "errors": errors}


if __name__ == "__main__":
    result = uvloop.run(load(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
    print(json.dumps(result))
