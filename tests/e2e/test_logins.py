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

import pytest

from tests.client import RestClient
from tests.guesses import browser, guesses, send, token_of
from tests.stack import Stack

AT_ONCE = 30
SHORT_SECONDS = 2
ATTACK_SECONDS = float(os.environ.get("LOGIN_ATTACK_SECONDS", "60"))
IDLE_SECONDS = float(os.environ.get("LOGIN_IDLE_SECONDS", "30"))
#: Between two requests of the user who is measured.
PAUSE_SECONDS = 0.02


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


@pytest.mark.slow
async def test_thirty_guess_at_once_and_nobody_else_notices(
    stack: Stack, bob_rest: RestClient
) -> None:
    async with guesses(stack.base_url, "203.0.113.1", AT_ONCE) as guessing:
        await guessing.refused()
        await latencies(bob_rest, SHORT_SECONDS)
        async with browser(stack.base_url, "203.0.113.2") as owner:
            assert (await send(owner, await token_of(owner), "demo", "demo")).status_code == 302
    assert set(guessing.statuses) == {200, 429}


@pytest.mark.slow
async def test_twenty_wrong_passwords_are_slow_and_the_owner_gets_in(stack: Stack) -> None:
    address = "203.0.113.3"
    url = stack.base_url
    async with browser(url, address) as known, browser(url, address) as attacker:
        assert (await send(known, await token_of(known), "demo", "demo")).status_code == 302
        known.cookies.delete("sessionid")
        token = await token_of(attacker)
        answers = await asyncio.gather(*(send(attacker, token, "demo", "no") for _ in range(20)))
        statuses = Counter(answer.status_code for answer in answers)
        assert statuses == {200: 5, 429: 15}
        waits = [
            int(refused.headers["Retry-After"]) for refused in answers if refused.status_code == 429
        ]
        assert 1 <= min(waits) <= max(waits) <= 15
        assert (await send(known, await token_of(known), "demo", "demo")).status_code == 302


def percentile(values: list[float], share: float) -> float:
    return statistics.quantiles(values, n=1000, method="inclusive")[round(share * 1000) - 1]


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_guesses_do_not_slow_down_others(stack: Stack, bob_rest: RestClient) -> None:
    await latencies(bob_rest, 3)  # warm
    # Before and after: what else the machine does comes and goes.
    idle = await latencies(bob_rest, IDLE_SECONDS / 2)
    async with guesses(stack.base_url, "203.0.113.4", AT_ONCE) as guessing:
        meanwhile = await latencies(bob_rest, ATTACK_SECONDS)
    idle += await latencies(bob_rest, IDLE_SECONDS / 2)
    figures = [
        f"{name}: {len(found)} requests, p50 {percentile(found, 0.5) * 1000:.1f} ms, "
        f"p99 {percentile(found, 0.99) * 1000:.1f} ms"
        for name, found in (("idle", idle), ("meanwhile", meanwhile))
    ]
    print(*figures, dict(guessing.statuses), sep="\n")  # noqa: T201 - pytest -s shows it
    assert set(guessing.statuses) == {200, 429}
    assert percentile(meanwhile, 0.99) <= 2 * percentile(idle, 0.99), figures
