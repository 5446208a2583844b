"""The call of one attempt: streams the provider's answer into the task's log."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field

import msgspec
from django.conf import settings
from django.utils import timezone

from aily.concurrency.faults import is_cancelled, note_fault
from aily.observability import tracing
from chat.eventlog import LogWriter, TaskLog
from chat.llm.client import ProviderClient
from chat.llm.errors import ConnectTimeoutError, ProviderError, UnreachableError
from chat.llm.types import AnswerLimits, ChatRequest, Delta, ReadDelay, TimeLimits
from chat.models import Status
from chat.models.transitions import StartedTask
from chat.runner.attempt import AttemptState, Stop
from chat.runner.pools import Deployment, Pool

logger = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Call:
    """One running attempt. `state` is what came of it, `log` has its text."""

    task: StartedTask
    pool: Pool
    deployment: Deployment
    client: ProviderClient
    writer: LogWriter
    #: Of a probe: called when the first text comes, which shows that the provider works again.
    on_first_text: Callable[[], None] | None = None
    #: Whether its success has been counted.
    is_counted: bool = False
    #: The deployments (their names) that have failed the task since it last waited.
    tried: Sequence[str] = ()
    state: AttemptState = field(default_factory=AttemptState, init=False)
    task_id: str = field(init=False)
    log: TaskLog = field(init=False)
    #: The asyncio task that waits for the provider, while it does.
    _asking: asyncio.Task[None] | None = field(default=None, init=False)
    _read_delay: ReadDelay = field(init=False)

    def __post_init__(self) -> None:
        self.task_id = str(self.task.id)
        is_quiet = self.task.run_id is not None
        self.log = self.writer.open(
            self.task_id, self.task.owner_id, self.task.attempt, is_quiet=is_quiet
        )
        self._read_delay = ReadDelay(self._read_delay_seconds)

    @property
    def can_move_on(self) -> bool:
        """Whether another deployment could be called that has not failed the task."""
        here = self.deployment.key[1]
        return here not in self.tried and self.pool.has_other([*self.tried, here])

    @property
    def was_answered(self) -> bool:
        """True when the provider gave a whole answer."""
        return self.state.completion is not None

    @property
    def used_tokens(self) -> int | None:
        """The tokens that it counts with in its minute, as far as that is known."""
        completion = self.state.completion
        if completion is not None:
            usage = completion.usage
            # A provider that counts nothing has used what was estimated.
            return usage.prompt_tokens + usage.completion_tokens or None
        return 0 if isinstance(self.state.error, UnreachableError | ConnectTimeoutError) else None

    def on_listener(self) -> None:
        """Read and append at once what there is: a follower of the text announced itself."""
        self.log.on_listener()
        self._read_delay.cancel()

    def stop(self, why: Stop) -> None:
        """Close the connection to the provider. A call that is ending already just goes on."""
        if self.state.stop is None:
            self.state.stop = why
            if self._asking is not None:
                self._asking.cancel()

    async def ask(self) -> None:
        """Return when the provider has nothing more to say. Raises nothing: an error of ours fails
        the task with `internal`."""
        self.log.on_refused = self._refused
        self.log.start(self.pool.model)
        if self.state.stop is None:
            await self._ask_until_stopped()

    async def _ask_until_stopped(self) -> None:
        task = self._asking = asyncio.current_task()
        try:
            await self._ask()
        except asyncio.CancelledError:
            if not is_cancelled():
                note_fault("call")
            # `stop` cancelled it, unless something else wants this asyncio task to end as well.
            elif self.state.stop is None or task is None or task.uncancel():
                raise
        except Exception:  # noqa: BLE001 - logged
            note_fault("call")
        finally:
            self._asking = None

    async def _ask(self) -> None:
        state = self.state
        if settings.LOG_PROMPTS:
            logger.info("prompt: %s", self.task.messages)
        request = ChatRequest(
            model=self.deployment.upstream_model,
            messages=msgspec.Raw(self.task.messages.encode()),
            params=msgspec.json.decode(self.task.params),
            user_id=f"u{self.task.owner_id}",
            traceparent=tracing.traceparent(),
        )
        try:
            async with self._deadline():
                state.completion = await self.client.ask(
                    self.deployment.upstream,
                    request,
                    _time_limits(),
                    self._write,
                    self._read_delay,
                    _answer_limits(),
                )
            state.status = Status.SUCCEEDED
        except TimeoutError:
            state.status = Status.EXPIRED
        except ProviderError as error:
            state.error = error

    def _deadline(self) -> AbstractAsyncContextManager[object]:
        at = self.task.deadline_at
        if at is None:
            return nullcontext()
        return asyncio.timeout((at - timezone.now()).total_seconds())

    # --- Called by the client and the log -------------------------------------------------------
    def _write(self, delta: Delta) -> None:
        """Add text to the log. Raises nothing: it is called where all calls' bytes are read."""
        try:
            if self.state.first_token_at is None:
                self._first_text_came()
            self.log.write(delta.text, delta.reasoning)
        except Exception:  # noqa: BLE001 - logged
            note_fault("call")
            self.stop(Stop.BROKEN)

    def _first_text_came(self) -> None:
        self.state.first_token_at = timezone.now()
        if self.on_first_text is not None:
            self.on_first_text()
            self.on_first_text = None

    def _read_delay_seconds(self) -> float:
        return 0.0 if self.on_first_text is not None else self.log.listeners.read_delay_seconds

    def _refused(self) -> None:
        task = self.task
        logger.warning("task %s: attempt %d: its events came too late", task.id, task.attempt)
        self.stop(Stop.LOST)


def _time_limits() -> TimeLimits:
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
