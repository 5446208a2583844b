"""Shares the event loop between what is read of answers and everything else."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

#: Of an answer, looked at in one step. An event takes a few microseconds, a byte next to nothing:
#: a step of the smallest and oddest events there are takes some ten milliseconds.
STEP_BYTES = 8 * 1024
#: This much is looked at in one step as well, while it has so few events: it is by them that an
#: answer costs. Where nobody listens, those of seconds come at once, and decode best at once.
LIGHT_BYTES = 64 * 1024
LIGHT_EVENTS = 512
#: Steps are taken for so long, then the event loop goes round once.
TURN_SECONDS = 0.005


def is_step(piece: bytes) -> bool:
    """Whether to look at a piece takes no more than a step may."""
    if len(piece) <= STEP_BYTES:
        return True
    # Lines may end with a CR as well. Hardly any do.
    is_light = len(piece) <= LIGHT_BYTES and b"\r" not in piece
    return is_light and piece.count(b"\n") <= 2 * LIGHT_EVENTS


class Turns:
    """Work that would hold the event loop, in steps. One an event loop: however many answers come
    in floods, together they take one turn at a time."""

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
            except Exception as error:  # noqa: BLE001 - told of; the others' steps go on
                loop.call_exception_handler({"message": "a step broke", "exception": error})
                has_more = False
            # Off the queue only now: `add` goes by its length.
            self._steps.popleft()
            if has_more:
                self._steps.append(step)
            if loop.time() >= until:
                break
        if self._steps:
            loop.call_soon(self._turn)
