"""Tasks of lane batch keep nobody waiting in a worker: neither their claims, nor their ends, nor
their events."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from itertools import count
from typing import Any

import pytest

from accounts.models import User
from aily.concurrency.batching import Pace
from chat.eventlog import aappend
from chat.models import Status, flights
from chat.runner import claims
from chat.runner.runtime import Runtime
from tests.chat.conftest import Submit, frames_of, row, until

HELLO = "Hi [sim:tokens=2]"


async def test_a_ring_ends_the_pause_after_a_claim_of_batch_tasks(
    worker: Runtime, submit_as_alice: Submit, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "PACE", Pace(min_seconds=60, max_seconds=60))
    for lane in ("batch", "batch", "interactive"):
        await frames_of(await submit_as_alice(HELLO, lane=lane), alice)


async def test_an_end_does_not_wait_until_those_of_batch_tasks_are_stored(
    worker: Runtime, submit_as_alice: Submit, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, is_storing, may_go_on, end = count(), threading.Event(), threading.Event(), flights.end

    def slow_first(*arguments: Any) -> Any:
        if next(calls) == 0:
            is_storing.set()
            assert may_go_on.wait(60)
        return end(*arguments)

    monkeypatch.setattr(flights, "end", slow_first)
    bulk = await submit_as_alice(HELLO, lane="batch")
    try:
        await until(is_storing.is_set)
        await frames_of(await submit_as_alice(HELLO), alice)
        assert (await row(bulk)).status == Status.RUNNING
    finally:
        may_go_on.set()
    await frames_of(bulk, alice)


async def test_an_event_does_not_wait_until_those_of_batch_tasks_are_sent(
    worker: Runtime, submit_as_alice: Submit, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, is_sending, may_go_on = count(), asyncio.Event(), asyncio.Event()

    async def slow_first(appends: Sequence[Any], *arguments: Any) -> Any:
        if next(calls) == 0:
            is_sending.set()
            await may_go_on.wait()
        return await aappend(appends, *arguments)

    monkeypatch.setattr("chat.eventlog.writer.aappend", slow_first)
    bulk = await submit_as_alice(HELLO, lane="batch")
    await until(is_sending.is_set)
    await frames_of(await submit_as_alice(HELLO), alice)
    may_go_on.set()
    await frames_of(bulk, alice)
