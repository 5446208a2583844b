"""Lets one worker claim first while few tasks come.

Every ring of the doorbell wakes all workers. Where each claims at once, all but one find nothing,
or each finds a few tasks: and a claim, a start and an end cost as much for one task as for ten.
"""

from __future__ import annotations

#: How long a worker that another one precedes leaves the tasks to it.
YIELD_SECONDS = 0.02
#: After so many claims in a row that came too late, another worker goes first.
MAX_LATE = 2
#: After so many claims in a row that brought what the first worker had left, it is gone, or has too
#: much to do: this one no longer waits for it.
MAX_LEFT = 3


class Precedence:
    """Whether another worker goes first in a pool, by what this one's claims have brought."""

    def __init__(self) -> None:
        self._yields = False
        self._is_rung = False
        #: Claims in a row that speak against what is so now.
        self._claims = 0

    def delay_seconds(self, *, is_rung: bool) -> float:
        """How long the next claim is to wait. `is_rung`: the doorbell has woken this worker."""
        self._is_rung = is_rung
        return YIELD_SECONDS if is_rung and self._yields else 0.0

    def note_claim(self, *, is_empty: bool) -> None:
        """Note what a claim has brought, where there was room for a task."""
        if not self._is_rung:
            return
        self._claims = self._claims + 1 if is_empty is not self._yields else 0
        if self._claims >= (MAX_LEFT if self._yields else MAX_LATE):
            self._yields, self._claims = not self._yields, 0
