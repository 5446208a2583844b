"""Trying rows of a run once, however often the request comes."""

from __future__ import annotations

from collections.abc import Callable

from accounts.authentication import AuthenticatedRequest
from accounts.idempotency import forget, replay
from aily.problems import Problem
from chat.models import Run
from chat.runs import control

#: An `idempotent` endpoint that marks so many rows.
Mark = Callable[[AuthenticatedRequest, control.Trial, int], object]


def try_once(request: AuthenticatedRequest, run: Run, rows: int, mark: Mark) -> object:
    """Mark and submit rows, unless the same request has done so: that its rows are tried is stored
    with their marks. Raises a Problem, after which the request may be sent again."""
    # The state may have changed since the first request.
    if (repeated := replay(request)) is not None:
        return repeated
    with control.trying(run) as trial:
        response = mark(request, trial, rows)
        try:
            trial.submit()
        except Problem:
            forget(request)
            raise
    return response
