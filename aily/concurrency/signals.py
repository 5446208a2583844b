"""An event that calls back: what waits for several of them needs no task for each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Signal(asyncio.Event):
    """An asyncio.Event that also calls what subscribed to it, once, when it is first set."""

    def __init__(self) -> None:
        super().__init__()
        self._callbacks: dict[Callable[[], object], None] = {}

    def set(self) -> None:
        super().set()
        callbacks, self._callbacks = self._callbacks, {}
        for callback in callbacks:
            callback()

    def subscribe(self, callback: Callable[[], object]) -> None:
        """Call back when it is set; at once if it is set already."""
        if self.is_set():
            callback()
        else:
            self._callbacks[callback] = None

    def unsubscribe(self, callback: Callable[[], object]) -> None:
        """Call it no more. May be called again."""
        self._callbacks.pop(callback, None)
