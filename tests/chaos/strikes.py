"""Strikes the installation again and again, and measures how long each time until it is back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import httpx

from tests.chaos.harms import Harm
from tests.chaos.site import Site
from tests.load.recording import MODEL

#: Strikes of which the next harm follows at once, before anything has recovered.
DOUBLE_SHARE = 0.25
_PROBE_PAUSE_SECONDS = 0.2
_PROBE_TIMEOUT_SECONDS = 5.0
_TERMINAL = {"succeeded", "failed", "cancelled", "expired"}


@dataclass
class Strike:
    """One harm, or two at once. Times are Unix time; `back_seconds` None: not within its bound."""

    harms: list[str]
    at: float
    until: float = 0.0
    bound_seconds: float = 0.0
    back_seconds: float | None = None


@dataclass
class Prober:
    """Somebody who wants one short answer now."""

    base_url: str
    api_key: str
    #: Task ids by prompt; None where no client saw that it was accepted.
    task_ids: dict[str, str | None] = field(default_factory=dict)

    async def until_answered(self, seconds: float) -> bool:
        """Submit a task, as often as it takes, and wait for its end. False when time is up."""
        prompt = f"Probe {len(self.task_ids)} [sim:latency=0,tokens=30,tps=0]"
        self.task_ids[prompt] = None
        headers = {"Authorization": f"Bearer {self.api_key}", "Idempotency-Key": f'"{prompt}"'}
        try:
            async with (
                asyncio.timeout(seconds),
                httpx.AsyncClient(
                    base_url=self.base_url, headers=headers, timeout=_PROBE_TIMEOUT_SECONDS
                ) as client,
            ):
                while not await self._is_answered(client, prompt):  # noqa: ASYNC110 - it asks
                    await asyncio.sleep(_PROBE_PAUSE_SECONDS)
        except TimeoutError:
            return False
        return True

    async def _is_answered(self, client: httpx.AsyncClient, prompt: str) -> bool:
        try:
            if self.task_ids[prompt] is None:
                self.task_ids[prompt] = await self._submit(client, prompt)
            answer = await client.get(f"/api/llmchat/tasks/{self.task_ids[prompt]}")
        except (httpx.HTTPError, _RefusedError):
            return False
        return answer.status_code == 200 and answer.json()["status"] in _TERMINAL

    async def _submit(self, client: httpx.AsyncClient, prompt: str) -> str:
        messages = [{"role": "user", "content": prompt}]
        # Ahead of whatever waits, as somebody before a screen would be.
        body = {"messages": messages, "model": MODEL, "lane": "interactive"}
        answer = await client.post("/api/llmchat/request", json=body)
        if answer.status_code != 202:
            raise _RefusedError
        return str(answer.json()["task_id"])


class _RefusedError(Exception):
    """Not accepted for now."""


async def strike_for(
    seconds: float, every_seconds: float, site: Site, harms: Sequence[Harm], prober: Prober
) -> list[Strike]:
    """Every harm once before any comes again; the next strike when all is well again."""
    draws = _draws(site, harms)
    strikes: list[Strike] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        await asyncio.sleep(every_seconds)
        chosen = [next(draws)]
        if site.random.random() < DOUBLE_SHARE:
            chosen.append(next(draws))
        strike = Strike([harm.name for harm in chosen], time.time())
        for harm in chosen:
            await asyncio.to_thread(harm.strike, site)
        strike.until = time.time()
        strike.bound_seconds = max(harm.back_seconds for harm in chosen)
        if await prober.until_answered(strike.bound_seconds):
            strike.back_seconds = time.time() - strike.until
        strikes.append(strike)
        back = "NOT BACK" if strike.back_seconds is None else f"{strike.back_seconds:5.1f} s"
        print(f"  {' + '.join(strike.harms):<60} back after {back}", flush=True)
    return strikes


def _draws(site: Site, harms: Sequence[Harm]) -> Iterator[Harm]:
    while True:
        yield from site.random.sample(harms, len(harms))
