"""The clock of a running event loop, moved on by a test that would otherwise have to wait."""

from __future__ import annotations

import asyncio

import pytest


class LoopClock:
    """Moves on what the running loop has planned. What is under way takes as long as it does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        loop = asyncio.get_running_loop()
        time = loop.time
        self._ahead_seconds = 0.0
        monkeypatch.setattr(loop, "time", lambda: time() + self._ahead_seconds)

    def advance(self, seconds: float) -> None:
        """What is due by then is done in the loop's next turn."""
        self._ahead_seconds += seconds
