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
#: Printed once, with the first answer that says: too many.
_REFUSED = "refused"


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
            if answer.status_code == 429 and not statuses[429]:
                print(_REFUSED, flush=True)  # noqa: T201
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


class Guesses:
    """The clients' process. `statuses` is filled at its end."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.statuses: Counter[int] = Counter()
        self._process = process

    async def refused(self) -> None:
        """Return once the first of them is refused."""
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), WAIT_SECONDS)
        assert line.decode().strip() == _REFUSED

    async def end(self) -> None:
        output, _ = await self._process.communicate(b"")
        assert self._process.returncode == 0
        counts = json.loads(output.splitlines()[-1])
        self.statuses.update({int(status): found for status, found in counts.items()})


@asynccontextmanager
async def guesses(
    base_url: str, address: str, clients: int, name: str = ""
) -> AsyncIterator[Guesses]:
    """They guess meanwhile."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.guesses",
        *(base_url, address, str(clients), name),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    found = Guesses(process)
    try:
        yield found
    finally:
        await found.end()


if __name__ == "__main__":
    url, place, number_of_clients, who = sys.argv[1:5]
    print(json.dumps(asyncio.run(_run(url, place, int(number_of_clients), who))))  # noqa: T201
