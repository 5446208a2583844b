"""What came of an attempt, and what is to become of its task then."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto

from django.conf import settings

from chat.llm.errors import BadRequestError, ProviderError
from chat.llm.retry import backoff_seconds
from chat.llm.types import Completion
from chat.models import Status
from chat.models.transitions import INTERNAL, StartedTask
from chat.models.transitions.tool_steps import NewStep
from chat.runner.structured import Misfit
from chat.structured.repair import Repair
from chat.vectors import Vectors

#: A model gets this many retries before the task goes over to its next fallback.
FAILURES_BEFORE_FALLBACK = 1
#: Where a provider asks to stay away for longer than this, a fallback takes over at once.
FALLBACK_WAIT_SECONDS = 2.0
_jitter = random.Random()  # noqa: S311 - spreads retries, keeps no secret


class Stop(Enum):
    """Why a call is stopped from outside."""

    CANCELLED = auto()
    HANDED_BACK = auto()
    LOST = auto()
    BROKEN = auto()


@dataclass(slots=True)
class AttemptState:
    """What came of the attempt so far, without the text, which its log has."""

    status: Status = Status.FAILED
    completion: Completion | None = None
    #: Of embeddings, whose completion has no text.
    vectors: Vectors | None = None
    error: ProviderError | None = None
    #: Why a whole answer does not fit the task's JSON Schema.
    misfit: Misfit | None = None
    #: Whether it was found to fit.
    has_output: bool = False
    #: Whether the model refused to give one.
    is_refusal: bool = False
    first_token_at: datetime | None = None
    #: Why it was stopped from outside.
    stop: Stop | None = None

    @property
    def outcome(self) -> str:
        """A word for the log: the provider's error code, why it was stopped, or `answered`."""
        if self.error is not None:
            return self.error.code
        if self.completion is not None:
            return "misfit" if self.misfit else "answered"
        return self.stop.name.lower() if self.stop else "broken"


@dataclass(frozen=True, slots=True)
class NextStep:
    """What is to become of a task after an attempt. QUEUED: another one, maybe elsewhere."""

    status: Status
    error: dict[str, str] | None = None
    backoff_seconds: float = 0
    falls_back: bool = False
    #: What the next attempt is to repair.
    repair: Repair | None = None
    #: Call another deployment of its model, at once and as if nothing had failed.
    moves_on: bool = False
    #: The tool calls to make before the next attempt.
    tools: NewStep | None = None


def next_step(task: StartedTask, state: AttemptState, *, can_move_on: bool = False) -> NextStep:
    """Decide what is to become of a task: the provider's errors are retried, ours are not.

    `can_move_on`: its model has another deployment that could be called now.
    """
    if state.stop is Stop.BROKEN:
        return NextStep(Status.FAILED, INTERNAL)
    has_ended = state.completion is not None or state.error is not None
    if state.stop is Stop.HANDED_BACK and not has_ended:
        return NextStep(Status.QUEUED)
    if state.misfit is not None:
        return _after_misfit(state.misfit)
    if state.error is None:
        is_broken = state.status is Status.FAILED
        return NextStep(state.status, INTERNAL if is_broken else None)
    return _after_error(task, state.error, can_move_on=can_move_on)


def _after_misfit(misfit: Misfit) -> NextStep:
    """One attempt to repair it, at once: the provider works."""
    if misfit.repair is not None:
        return NextStep(Status.QUEUED, misfit.error(), repair=misfit.repair)
    return NextStep(Status.FAILED, misfit.error())


def _after_error(task: StartedTask, problem: ProviderError, *, can_move_on: bool) -> NextStep:
    failures = task.failures + 1
    error = {"code": problem.code, "message": problem.message}
    if can_move_on and not isinstance(problem, BadRequestError):
        return NextStep(Status.QUEUED, error, moves_on=True)
    # One more try where it may help; a request that is wrong is wrong everywhere.
    max_failures = min(FAILURES_BEFORE_FALLBACK + 1, settings.TASK_MAX_FAILURES)
    wait = backoff_seconds(
        failures,
        problem,
        _jitter,
        settings.TASK_RETRY_SECONDS,
        settings.LLM_RETRY_AFTER_MAX_SECONDS,
    )
    is_sent_away = (problem.retry_after_seconds or 0) > FALLBACK_WAIT_SECONDS
    is_hopeless = not problem.retryable or failures >= max_failures or is_sent_away
    if task.fallbacks and is_hopeless and not isinstance(problem, BadRequestError):
        return NextStep(Status.QUEUED, error, falls_back=True)
    if problem.retryable and failures < settings.TASK_MAX_FAILURES:
        return NextStep(Status.QUEUED, error, backoff_seconds=wait)
    return NextStep(Status.FAILED, error)
