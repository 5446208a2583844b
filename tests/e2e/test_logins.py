"""Log-ins by the dozen, at the real processes: nobody else notices, and the owner gets in.

`pytest -m slow tests/e2e/test_logins.py` measures it for a minute; LOGIN_ATTACK_SECONDS and
LOGIN_IDLE_SECONDS change how long.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from tests.client import RestClient
from tests.e2e.test_access import csrf_token
from tests.stack import Stack

AT_ONCE = 30
SHORT_SECONDS = 4
ATTACK_SECONDS = float(os.environ.get("LOGIN_ATTACK_SECONDS", "60"))
IDLE_SECONDS = float(os.environ.get("LOGIN_IDLE_SECONDS", "30"))
#: Between two requests of the user who is measured.
PAUSE_SECONDS = 0.02
WAIT_SECONDS = 60


def browser(stack: Stack, address: str) -> httpx.AsyncClient:
    """Someone at `address`, as the proxy tells (tests/e2e/conftest.py)."""
    return httpx.AsyncClient(
        base_url=stack.base_url,
        headers={"X-Forwarded-For": address, "Referer": f"{stack.base_url}/login/"},
        timeout=WAIT_SECONDS,
    )


async def token_of(client: httpx.AsyncClient) -> str:
    return csrf_token((await client.get("/login/")).text)


async def send(client: httpx.AsyncClient, token: str, name: str, password: str) -> httpx.Response:
    form = {"csrfmiddlewaretoken": token, "username": name, "password": password}
    return await client.post("/login/", data=form)


@asynccontextmanager
async def attack(stack: Stack, address: str, *names: str) -> AsyncIterator[Counter[int]]:
    """AT_ONCE clients send wrong passwords without a pause. Gives the statuses of the answers."""
    statuses: Counter[int] = Counter()

    async def guess(number: int) -> None:
        async with browser(stack, address) as client:
            token = await token_of(client)
            while True:
                name = names[number % len(names)] if names else f"nobody-{number}"
                answer = await send(client, token, name, f"wrong-{time.monotonic()}")
                statuses[answer.status_code] += 1

    guesses = [asyncio.create_task(guess(number)) for number in range(AT_ONCE)]
    try:
        yield statuses
    finally:
        for one in guesses:
            assert not one.done()
            one.cancel()
        await asyncio.gather(*guesses, return_exceptions=True)


async def latencies(rest: RestClient, seconds: float) -> list[float]:
    """How long requests of another user take, one after another."""
    found = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for path in ("/api/me", "/api/llmchat/tasks?limit=5"):
            began = time.perf_counter()
            assert (await rest.get(path)).status == 200
            found.append(time.perf_counter() - began)
            await asyncio.sleep(PAUSE_SECONDS)
    return found


async def test_thirty_guess_at_once_and_nobody_else_notices(
    stack: Stack, bob_rest: RestClient
) -> None:
    async with attack(stack, "203.0.113.1") as statuses:
        await latencies(bob_rest, SHORT_SECONDS)
        async with browser(stack, "203.0.113.2") as owner:
            assert (await send(owner, await token_of(owner), "demo", "demo")).status_code == 302
    assert set(statuses) == {200, 429}


async def test_twenty_wrong_passwords_are_slow_and_the_owner_gets_in(stack: Stack) -> None:
    address = "203.0.113.3"
    async with browser(stack, address) as known, browser(stack, address) as attacker:
        assert (await send(known, await token_of(known), "demo", "demo")).status_code == 302
        known.cookies.delete("sessionid")
        token = await token_of(attacker)
        answers = await asyncio.gather(*(send(attacker, token, "demo", "no") for _ in range(20)))
        statuses = Counter(answer.status_code for answer in answers)
        assert statuses == {200: 5, 429: 15}
        waits = [int(one.headers["Retry-After"]) for one in answers if one.status_code == 429]
        assert 1 <= min(waits) <= max(waits) <= 15
        assert (await send(known, await token_of(known), "demo", "demo")).status_code == 302


def percentile(values: list[float], share: float) -> float:
    return statistics.quantiles(values, n=1000, method="inclusive")[round(share * 1000) - 1]


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_guesses_do_not_slow_down_others(stack: Stack, bob_rest: RestClient) -> None:
    await latencies(bob_rest, 3)  # warm
    idle = await latencies(bob_rest, IDLE_SECONDS)
    async with attack(stack, "203.0.113.4") as statuses:
        meanwhile = await latencies(bob_rest, ATTACK_SECONDS)
    figures = [
        f"{name}: {len(found)} requests, p50 {percentile(found, 0.5) * 1000:.1f} ms, "
        f"p99 {percentile(found, 0.99) * 1000:.1f} ms"
        for name, found in (("idle", idle), ("meanwhile", meanwhile))
    ]
    print(*figures, dict(statuses), sep="\n")  # noqa: T201 - pytest -s shows it
    assert set(statuses) == {200, 429}
    assert percentile(meanwhile, 0.99) <= 2 * percentile(idle, 0.99), figures
