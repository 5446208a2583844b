"""Signals that end the launcher."""

from __future__ import annotations

import signal
import threading


class StopRequested(Exception):  # noqa: N818 (nothing went wrong)
    """The launcher has got a signal to end."""


class StopRequest:
    """Notes SIGINT, SIGTERM and SIGHUP; `wait` and `check` raise StopRequested for them."""

    def __init__(self) -> None:
        self._requested = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: self._requested.set())

    def wait(self, seconds: float) -> None:
        """Sleep. Raises StopRequested as soon as a signal has come."""
        if self._requested.wait(seconds):
            raise StopRequested

    def check(self) -> None:
        self.wait(0)
