"""Clients that send wrong passwords without a pause, as a process of their own: what they take of
Its CPU time does not disturb the process that measures.

`python -m tests.guesses URL ADDRESS CLIENTS [NAME]` ends when its input does, and then prints the
statuses of the answers as JSON. Without a name each client tries one of its own.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

import httpx

_TOKEN = 'name="csrfmiddlewaretoken" value="'
WAIT_SECONDS = 60


def browser(base_url: str, address: str) -> httpx.AsyncClient:
    """A client at `address`, as a trusted proxy reports it."""
    headers = {"X-Forwarded-For": address, "Referer": f"{base_url}/login/"}
    return httpx.AsyncClient(base_url=base_url, headers=headers, timeout=WAIT_SECONDS)


async def token_of(client: httpx.AsyncClient) -> str:
    page = (await client.get("/login/")).text
    return page.partition(_TOKEN)[2].partition('"')[0]


async def send(client: httpx.AsyncClient, token: str, name: str, password: str) -> httpx.Response:
    form = {"csrfmiddlewaretoken": token, "username": name, "password": password}
    return await client.post("/login/", data=form)


async def _guess(base_url: str, address: str, name: str, statuses: Counter[int]) -> None:
    async with browser(base_url, address) as client:
        token = await token_of(client)
        for number in count():
            answer = await send(client, token, name, f"wrong-{number}")
            statuses[answer.status_code] += 1


async def _run(base_url: str, address: str, clients: int, name: str) -> Counter[int]:
    statuses: Counter[int] = Counter()
    guesses = [
        asyncio.create_task(_guess(base_url, address, name or f"nobody-{number}", statuses))
        for number in range(clients)
    ]
    end = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    done, _ = await asyncio.wait([end, *guesses], return_when=asyncio.FIRST_COMPLETED)
    for guess in guesses:
        if guess in done:
            guess.result()  # a guess never ends but by its fault
        guess.cancel()
    return statuses


@asynccontextmanager
async def guesses(
    base_url: str, address: str, clients: int, name: str = ""
) -> AsyncIterator[Counter[int]]:
    """They guess meanwhile. The counter is filled at the end."""
    statuses: Counter[int] = Counter()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.guesses",
        *(base_url, address, str(clients), name),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield statuses
    finally:
        output, _ = await process.communicate(b"")
    assert process.returncode == 0
    statuses.update({int(status): found for status, found in json.loads(output).items()})


if __name__ == "__main__":
    url, place, number_of_clients, who = sys.argv[1:5]
    print(json.dumps(asyncio.run(_run(url, place, int(number_of_clients), who))))  # noqa: T201
