"""Shares the event loop between parsing of large reads and everything else."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

#: Bytes of a response parsed in one step. Cost goes by events, a few microseconds each: a step of
#: the smallest unusual events takes about 10 ms.
STEP_BYTES = 8 * 1024
#: A larger read is one step too if it has at most LIGHT_EVENTS. Answers without a follower are read
#: seldom, many events at a time, which are decoded together.
LIGHT_BYTES = 64 * 1024
LIGHT_EVENTS = 512
#: How long steps run before the event loop gets a turn.
TURN_SECONDS = 0.005


def is_step(piece: bytes) -> bool:
    """Whether parsing a piece takes at most one step."""
    if len(piece) <= STEP_BYTES:
        return True
    # Lines may end with CR too, which is rare: count only LF.
    is_light = len(piece) <= LIGHT_BYTES and b"\r" not in piece
    return is_light and piece.count(b"\n") <= 2 * LIGHT_EVENTS


class StepQueue:
    """Round-robin queue of work that would block the event loop. One for each loop: all floods
    together use TURN_SECONDS at a time."""

    def __init__(self) -> None:
        self._steps: deque[Callable[[], bool]] = deque()

    def add(self, step: Callable[[], bool]) -> None:
        """Call `step` until it returns False, in turn with others."""
        self._steps.append(step)
        if len(self._steps) == 1:
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + TURN_SECONDS
        while self._steps:
            step = self._steps[0]
            try:
                has_more = step()
            except Exception as error:  # noqa: BLE001 - logged; other steps go on
                loop.call_exception_handler({"message": "a step broke", "exception": error})
                has_more = False
            # Removed only now: `add` schedules a turn when the queue was empty.
            self._steps.popleft()
            if has_more:
                self._steps.append(step)
            if loop.time() >= until:
                break
        if self._steps:
            loop.call_soon(self._turn)
