"""The watch over an access: shared by its requests, kept for a while after them, and then ended."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from math import inf

import pytest

from accounts import lost_access
from accounts.lost_access import lost_credentials
from aily.web.access_revocation import Access, open_sockets
from tests.waiting import until


@dataclass
class Credentials:
    """Those of a key. Counts how often they were checked."""

    access: Access = field(default_factory=lambda: Access(1, 2))
    valid_seconds: float = inf
    checks: int = 0

    async def identify_again(self, *, check: bool) -> Credentials:
        self.checks += 1
        return self


async def test_requests_one_after_another_are_watched_together(
    monkeypatch: pytest.MonkeyPatch, loop_services: None
) -> None:
    credentials = Credentials()
    async with lost_credentials(credentials) as first:
        pass
    async with lost_credentials(credentials) as second:
        assert second is first
        # Messages reach it in between as well.
        open_sockets()._receive(
            {
                "type": "access.revoked",
                "user_id": 1,
                "api_key_id": None,
                "session": None,
                "is_revoked": True,
            }
        )
        await asyncio.wait_for(second.wait(), 20)
    async with lost_credentials(credentials) as third:
        assert third is not first
        assert not third.is_set()


async def test_a_watch_ends_a_while_after_its_last_request(
    monkeypatch: pytest.MonkeyPatch, loop_services: None
) -> None:
    monkeypatch.setattr(lost_access, "LINGER_SECONDS", 0.05)
    async with lost_credentials(Credentials()) as first:
        pass
    await until(lambda: not lost_access._watches())
    async with lost_credentials(Credentials()) as second:
        assert second is not first
