"""One attempt of one task, end to end: call the provider, log the answer, store the end."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum, auto

import msgspec
from django.conf import settings
from django.utils import timezone
from msgspec.structs import replace

from aily.concurrency.faults import is_cancelled, note_fault, surviving
from aily.database.threads import in_database
from aily.observability import tracing
from chat import answer_cache
from chat.answer_cache import CachedAnswer
from chat.eventlog import LogWriter, TaskLog
from chat.events import Event, EventId, TaskCancelled, TaskCompleted, TaskExpired, TaskFailed
from chat.llm.client import ProviderClient
from chat.llm.errors import BadRequestError, ProviderError
from chat.llm.retry import backoff_seconds
from chat.llm.types import AnswerLimits, ChatRequest, Completion, Delta, Patience, TimeLimits
from chat.models import ServedFrom, Status
from chat.models.flights import FlightOutcome, Successor
from chat.models.tasks import FINISH_REASON_CHARS
from chat.models.transitions import INTERNAL, AttemptResult, StartedTask
from chat.observability import metrics
from chat.runner.pools import Pool
from chat.runner.storage import Endings

logger = logging.getLogger(__name__)
#: A model gets this many retries before the task goes over to its next fallback.
FAILURES_BEFORE_FALLBACK = 1
#: What comes of an answer that nobody listens to is looked at this often: pieces of text come by
#: the hundred. Who begins to listen says so (`listened_to`).
UNHEARD_SECONDS = 10.0
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
class Answer:
    """What came of the call so far, the text itself apart (the log has it)."""

    status: Status = Status.FAILED
    completion: Completion | None = None
    error: ProviderError | None = None
    first_token_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to become of a task after an attempt. QUEUED: another one, maybe elsewhere."""

    status: Status
    error: dict[str, str] | None = None
    backoff_seconds: float = 0
    falls_back: bool = False


@dataclass(slots=True, eq=False)
class Call:
    """One running attempt. `requeue(task, seconds)` is told when it goes back to the queue, or when
    another task is to run in its place."""

    task: StartedTask
    pool: Pool
    client: ProviderClient
    writer: LogWriter
    endings: Endings
    requeue: Callable[[StartedTask | Successor, float], None]
    #: Of a probe: called when the first text comes, which says that the provider works again.
    on_first_text: Callable[[], None] | None = None
    #: Whether its success has been counted.
    is_counted: bool = False
    task_id: str = field(init=False)
    log: TaskLog = field(init=False)
    _stop: Stop | None = field(default=None, init=False)
    #: The task that waits for the provider, while it does.
    _asking: asyncio.Task[None] | None = field(default=None, init=False)
    _answer: Answer = field(default_factory=Answer, init=False)
    _patience: Patience = field(init=False)

    def __post_init__(self) -> None:
        self.task_id = str(self.task.id)
        self.log = self.writer.open(self.task_id, self.task.owner_id, self.task.attempt)
        self._patience = Patience(self._unheard_seconds)

    def _unheard_seconds(self) -> float:
        is_awaited = self.log.is_heard or self.on_first_text is not None
        return 0.0 if is_awaited else UNHEARD_SECONDS

    def listened_to(self) -> None:
        """Somebody has begun to: all text so far, and what comes, is to be logged at once."""
        self.log.listened_to()
        self._patience.lose()

    def stop(self, why: Stop) -> None:
        """Close the connection to the provider. A call that is ending already just goes on."""
        if self._stop is None:
            self._stop = why
            if self._asking is not None:
                self._asking.cancel()

    @property
    def is_lost(self) -> bool:
        return self._stop is Stop.LOST

    @property
    def was_answered(self) -> bool:
        """True when the provider gave a whole answer."""
        return self._answer.completion is not None

    @property
    def completion(self) -> Completion | None:
        """The provider's whole answer, if it gave one."""
        return self._answer.completion

    @property
    def first_token_at(self) -> datetime | None:
        return self._answer.first_token_at

    @property
    def error(self) -> ProviderError | None:
        """The provider's error, if it made one."""
        return self._answer.error

    async def ask(self) -> None:
        """Return when the provider has nothing more to say. Raises nothing: an error of ours fails
        the task with `internal`."""
        self.log.on_refused = self._refused
        self.log.start(self.pool.model)
        if self._stop is None:
            await self._ask_until_stopped()

    async def _ask_until_stopped(self) -> None:
        task = self._asking = asyncio.current_task()
        try:
            await self._ask()
        except asyncio.CancelledError:
            if not is_cancelled():
                note_fault("call")
            # `stop` was it, unless somebody else wants this task to end as well.
            elif self._stop is None or task is None or task.uncancel():
                raise
        except Exception:  # noqa: BLE001 - logged
            note_fault("call")
        finally:
            self._asking = None

    @property
    def outcome(self) -> str:
        """In a word, for the log: the provider's error code, why it was stopped, or `answered`."""
        if self.error is not None:
            return self.error.code
        stopped = self._stop.name.lower() if self._stop else "broken"
        return "answered" if self.was_answered else stopped

    def _refused(self) -> None:
        task = self.task
        logger.warning("task %s: attempt %d: its events came too late", task.id, task.attempt)
        self.stop(Stop.LOST)

    async def end(self) -> None:
        """Store what came of it, and tell those who follow."""
        if settings.LOG_PROMPTS:
            logger.info("answer: %s", self.log.text)
        if not self.is_lost:
            await self._end()

    async def fail(self) -> None:
        """Store that it failed by a fault of ours, after `end` broke off. Had that stored the end
        before, it stays."""
        with surviving("call"):
            self.log.seal()
        broken = self._broken()
        landing = await self.endings.store(broken)
        if landing is not None:
            await self._conclude(broken, landing)

    async def _ask(self) -> None:
        answer = self._answer
        if settings.LOG_PROMPTS:
            logger.info("prompt: %s", self.task.messages)
        request = ChatRequest(
            model=self.pool.upstream_model,
            messages=msgspec.Raw(self.task.messages.encode()),
            params=msgspec.json.decode(self.task.params),
            user_id=f"u{self.task.owner_id}",
            traceparent=tracing.traceparent(),
        )
        try:
            async with self._deadline():
                answer.completion = await self.client.ask(
                    self.pool.upstream,
                    request,
                    _limits(),
                    self._write,
                    self._patience,
                    _answer_limits(),
                )
            answer.status = Status.SUCCEEDED
        except TimeoutError:
            answer.status = Status.EXPIRED
        except ProviderError as error:
            answer.error = error

    def _write(self, delta: Delta) -> None:
        """Take what has come. Raises nothing: it is called where all calls' bytes are read."""
        try:
            if self._answer.first_token_at is None:
                self._first_text_came()
            self.log.write(delta.text, delta.reasoning)
        except Exception:  # noqa: BLE001 - logged
            note_fault("call")
            self.stop(Stop.BROKEN)

    def _first_text_came(self) -> None:
        self._answer.first_token_at = timezone.now()
        if self.on_first_text is not None:
            self.on_first_text()
            self.on_first_text = None

    def _deadline(self) -> AbstractAsyncContextManager[object]:
        at = self.task.deadline_at
        if at is None:
            return nullcontext()
        return asyncio.timeout((at - timezone.now()).total_seconds())

    # --- The end --------------------------------------------------------------------------------
    async def _end(self) -> None:
        verdict = self._verdict()
        ending = self._ending(verdict)
        landing = None
        if self._stop is not Stop.CANCELLED:
            ending, landing = await self._store(ending)
        if landing is not None and ending.status is Status.QUEUED:
            metrics.retries(self.pool.model).inc()
            self.requeue(self._next_attempt(verdict), verdict.backoff_seconds)
        elif landing is not None:
            await self._conclude(ending, landing)
        elif await self._keep_partial(ending):
            self.log.end(lambda event_id: TaskCancelled(task_id=self.log.task_id, id=event_id))
        else:
            logger.warning(
                "task %s: attempt %d: its end came too late", self.task.id, self.task.attempt
            )

    async def _conclude(self, ending: AttemptResult, landing: FlightOutcome) -> None:
        """What follows once the end is committed."""
        if landing.followers:
            event_id = str(EventId(ending.attempt, ending.last_event))
            shared = self._terminal_event(ending, event_id, ServedFrom.FLIGHT)
            # Before the leader's own end, at which their readers would all look at their rows.
            self.log.tell([(str(one.id), one.owner_id) for one in landing.followers], shared)
        self.log.end(lambda event_id: self._terminal_event(ending, event_id))
        if landing.successor:
            self.requeue(landing.successor, 0)
        is_whole = ending.finish_reason == "stop" and not ending.tool_calls
        if self.task.cache_ttl_seconds and ending.status is Status.SUCCEEDED and is_whole:
            await in_database(self._keep_answer, ending)

    def _keep_answer(self, ending: AttemptResult) -> None:
        answer = CachedAnswer(
            ending.text, ending.reasoning, ending.finish_reason, ending.usage or {}
        )
        task = self.task
        answer_cache.put(task.flight_key, task.model_id, answer, task.cache_ttl_seconds)

    async def _store(self, ending: AttemptResult) -> tuple[AttemptResult, FlightOutcome | None]:
        try:
            return ending, await self.endings.store(ending)
        except Exception:  # noqa: BLE001 - logged
            note_fault("storing an end")
        broken = self._broken()
        return broken, await self.endings.store(broken)

    def _broken(self) -> AttemptResult:
        """An end that can be stored whatever has come."""
        return AttemptResult(
            id=self.task.id,
            attempt=self.task.attempt,
            status=Status.FAILED,
            last_event=self.log.last_event + 1,
            error=INTERNAL,
            may_lead=bool(self.task.flight_key),
            in_conversation=self.task.in_conversation,
        )

    async def _keep_partial(self, ending: AttemptResult) -> bool:
        # Whatever the attempt came to, it is the cancelling that ends it.
        partial = replace(ending, last_event=self.log.last_event + 1)
        try:
            return await self.endings.keep_partial(partial)
        except Exception:  # noqa: BLE001 - logged
            note_fault("storing a partial answer")
        return await self.endings.keep_partial(replace(partial, text="", reasoning=""))

    def _next_attempt(self, verdict: Verdict) -> StartedTask:
        if not verdict.falls_back:
            return self.task
        return replace(self.task, model_id=self.task.fallbacks[0])

    def _ending(self, verdict: Verdict) -> AttemptResult:
        """The row's new values."""
        answer, completion = self._answer, self._answer.completion
        backoff = verdict.backoff_seconds
        self.log.seal()
        return AttemptResult(
            id=self.task.id,
            attempt=self.task.attempt,
            status=verdict.status,
            # What ends the task takes the next place; a new attempt starts a count of its own.
            last_event=self.log.last_event + (verdict.status is not Status.QUEUED),
            text=self.log.text,
            reasoning=self.log.reasoning,
            finish_reason=completion.finish_reason[:FINISH_REASON_CHARS] if completion else "",
            tool_calls=[msgspec.to_builtins(one) for one in completion.tool_calls]
            if completion
            else (),
            usage=msgspec.to_builtins(completion.usage) if completion else None,
            error=verdict.error,
            upstream_request_id=(completion.request_id or "")[:200] if completion else "",
            first_token_at=answer.first_token_at,
            not_before=timezone.now() + timedelta(seconds=backoff) if backoff else None,
            failures=1 if answer.error else 0,
            falls_back=verdict.falls_back,
            may_lead=bool(self.task.flight_key),
            in_conversation=self.task.in_conversation,
        )

    def _verdict(self) -> Verdict:
        """What is to become of the task: the provider's errors are retried, ours are not."""
        answer = self._answer
        if self._stop is Stop.BROKEN:
            return Verdict(Status.FAILED, INTERNAL)
        if self._stop is Stop.HANDED_BACK and answer.completion is None and answer.error is None:
            return Verdict(Status.QUEUED)
        if answer.status is not Status.FAILED:
            return Verdict(answer.status)
        if answer.error is None:
            return Verdict(Status.FAILED, INTERNAL)
        return self._verdict_on(answer.error)

    def _verdict_on(self, problem: ProviderError) -> Verdict:
        failures = self.task.failures + 1
        error = {"code": problem.code, "message": problem.message}
        # One more try where it may help; a request that is wrong is wrong everywhere.
        most = min(FAILURES_BEFORE_FALLBACK + 1, settings.TASK_MAX_FAILURES)
        wait = backoff_seconds(
            failures,
            problem,
            _jitter,
            settings.TASK_RETRY_SECONDS,
            settings.LLM_RETRY_AFTER_MAX_SECONDS,
        )
        is_sent_away = (problem.retry_after_seconds or 0) > FALLBACK_WAIT_SECONDS
        is_hopeless = not problem.retryable or failures >= most or is_sent_away
        if self.task.fallbacks and is_hopeless and not isinstance(problem, BadRequestError):
            return Verdict(Status.QUEUED, error, falls_back=True)
        if problem.retryable and failures < settings.TASK_MAX_FAILURES:
            return Verdict(Status.QUEUED, error, backoff_seconds=wait)
        return Verdict(Status.FAILED, error)

    def _terminal_event(
        self, ending: AttemptResult, event_id: str, served_from: ServedFrom = ServedFrom.PROVIDER
    ) -> Event:
        task_id = self.log.task_id
        if ending.status is Status.SUCCEEDED:
            result = {
                "text": ending.text,
                "reasoning": ending.reasoning,
                "finish_reason": ending.finish_reason,
                "tool_calls": ending.tool_calls,
            }
            return TaskCompleted(
                task_id=task_id,
                id=event_id,
                result=result,
                usage=ending.usage or {},
                served_from=served_from,
            )
        if ending.status is Status.EXPIRED:
            return TaskExpired(task_id=task_id, id=event_id)
        return TaskFailed(task_id=task_id, id=event_id, error=ending.error or {})


def _limits() -> TimeLimits:
    return TimeLimits(
        connect_seconds=settings.LLM_CONNECT_SECONDS,
        first_token_seconds=settings.LLM_FIRST_TOKEN_SECONDS,
        between_tokens_seconds=settings.LLM_BETWEEN_TOKENS_SECONDS,
        total_seconds=settings.LLM_TOTAL_SECONDS,
    )


def _answer_limits() -> AnswerLimits:
    return AnswerLimits(
        text_bytes=settings.LLM_MAX_TEXT_BYTES,
        reasoning_bytes=settings.LLM_MAX_REASONING_BYTES,
        arguments_bytes=settings.LLM_MAX_ARGUMENTS_BYTES,
        tool_calls=settings.LLM_MAX_TOOL_CALLS,
    )
