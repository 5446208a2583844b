"""The call of one attempt: streams the provider's answer into the task's log, or has its
vectors."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
from django.conf import settings
from django.utils import timezone

from aily.concurrency.byte_budget import ByteBudget
from aily.concurrency.faults import is_cancelled, note_fault
from aily.observability import tracing
from chat.eventlog import LogWriter, TaskLog
from chat.llm.client import ProviderClient
from chat.llm.embeddings import count_inputs, memory_of
from chat.llm.errors import ConnectTimeoutError, ProviderError, UnreachableError
from chat.llm.types import (
    AnswerLimits,
    ChatRequest,
    Completion,
    Delta,
    EmbeddingsRequest,
    ReadDelay,
    TimeLimits,
)
from chat.models import Status, TaskKind
from chat.models.task_states import REFUSAL, is_held_to_schema
from chat.models.transitions import LARGE_PROMPT_BYTES, StartedTask, load_messages
from chat.runner.attempt import AttemptState, Stop
from chat.runner.pools import Deployment, Pool
from chat.runner.storage import retry_until_database_returns
from chat.runner.structured import Misfit, StructuredAnswer

if TYPE_CHECKING:
    from chat.toolloop.loop import ToolLoop

logger = logging.getLogger(__name__)


#: Copies of a large prompt that its call has: the row's, the request's, and the one that is sent.
PROMPT_COPIES = 3


@dataclass(frozen=True, slots=True)
class Memory:
    """What all calls of a process may take of it for large prompts, and for vectors."""

    prompts: ByteBudget
    vectors: ByteBudget

    @property
    def is_full(self) -> bool:
        """Whether calls wait for some."""
        return self.prompts.is_waited_for or self.vectors.is_waited_for


@dataclass(slots=True, eq=False)
class Call:
    """One running attempt. `state` is what came of it, `log` has its text."""

    task: StartedTask
    pool: Pool
    deployment: Deployment
    client: ProviderClient
    writer: LogWriter
    memory: Memory
    #: Of a probe: called when the first text comes, which shows that the provider works again.
    on_first_text: Callable[[], None] | None = None
    #: Whether its success has been counted.
    is_counted: bool = False
    #: The deployments (their names) that have failed the task since it last waited.
    tried: Sequence[str] = ()
    state: AttemptState = field(default_factory=AttemptState, init=False)
    task_id: str = field(init=False)
    log: TaskLog = field(init=False)
    #: Of a task with a JSON Schema.
    structured: StructuredAnswer | None = field(init=False)
    #: Of a task with tools, once it is loaded.
    loop: ToolLoop | None = field(default=None, init=False)
    #: When the call began (monotonic).
    began_at: float = field(default_factory=time.monotonic, init=False)
    #: The asyncio task that waits for the provider, while it does.
    _asking: asyncio.Task[None] | None = field(default=None, init=False)
    _read_delay: ReadDelay = field(init=False)
    #: What the call has reserved, and of which budget.
    _reserved: tuple[ByteBudget, int] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.task_id = str(self.task.id)
        is_quiet = self.task.run_id is not None
        self.log = self.writer.open(
            self.task_id, self.task.owner_id, self.task.attempt, is_quiet=is_quiet
        )
        self.structured = StructuredAnswer.of(self.task, self.deployment)
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
        """Return when the provider has sent everything. Raises nothing: an error of ours fails
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
        call = self._embed if self.task.kind == TaskKind.EMBEDDINGS else self._chat
        try:
            async with self._deadline():
                state.completion = await call()
            state.status = Status.SUCCEEDED
        except TimeoutError:
            state.status = Status.EXPIRED
        except ProviderError as error:
            state.error = error

    async def _chat(self) -> Completion:
        messages = await self._messages()
        if settings.LOG_PROMPTS:
            logger.info("prompt: %s", messages)
        request = ChatRequest(
            model=self.deployment.upstream_model,
            messages=msgspec.Raw(messages.encode()),
            params=msgspec.json.decode(self.task.params),
            user_id=f"u{self.task.owner_id}",
            traceparent=tracing.traceparent(),
        )
        if self.task.tools is not None:
            request = await self._with_tools(request, messages, self.task.tools)
        return await self._complete(request)

    async def _messages(self) -> str:
        """The task's messages as JSON; large ones once there is memory for them."""
        task = self.task
        if task.prompt_bytes <= LARGE_PROMPT_BYTES:
            return task.messages
        await self._reserve(self.memory.prompts, PROMPT_COPIES * task.prompt_bytes)
        messages = await retry_until_database_returns(lambda: load_messages(task.id))
        if messages is None:
            raise RuntimeError(f"task {task.id} was deleted while it ran")
        return messages

    async def _with_tools(self, request: ChatRequest, prompt: str, tools: str) -> ChatRequest:
        """The request with the tools that the model may call, and the steps so far."""
        # Imported here: a process without tools loads none of this.
        from chat.toolloop.loop import load_loop

        loop = self.loop = await retry_until_database_returns(
            lambda: load_loop(self.task, tools, request.params)
        )
        messages: list[Any] = msgspec.json.decode(prompt)
        return msgspec.structs.replace(
            request,
            messages=[*messages, *loop.turns.messages()],
            params=loop.prepare(request.params, is_repair=self.task.repair is not None),
        )

    async def _embed(self) -> Completion:
        """Have the input's vectors. They are in the state, as the completion has the usage."""
        if settings.LOG_PROMPTS:
            logger.info("input: %s", self.task.params)
        params = msgspec.json.decode(self.task.params)
        request = EmbeddingsRequest(
            model=self.deployment.upstream_model,
            params=params,
            user_id=f"u{self.task.owner_id}",
            traceparent=tracing.traceparent(),
        )
        count, max_bytes = count_inputs(params["input"]), settings.EMBEDDINGS_MAX_RESULT_BYTES
        room = memory_of(count, params.get("dimensions"), max_bytes)
        await self._reserve(self.memory.vectors, room)
        answer = await self.client.embed(
            self.deployment.upstream, request, count, _time_limits(), max_bytes
        )
        self.state.vectors = answer.vectors
        return Completion(
            finish_reason="",
            usage=answer.usage,
            model=self.pool.model,
            upstream_id=None,
            request_id=answer.request_id,
        )

    async def _reserve(self, budget: ByteBudget, size: int) -> None:
        await budget.reserve(size)
        self._reserved = budget, size

    def release_memory(self) -> None:
        """Give back what was reserved, once the end is stored."""
        reserved, self._reserved = self._reserved, None
        if reserved is not None:
            budget, size = reserved
            budget.release(size)

    async def _complete(self, request: ChatRequest) -> Completion:
        """Raises ProviderError."""
        structured = self.structured
        if structured is None:
            return await self._ask_provider(request)
        while True:
            try:
                return await self._ask_provider(structured.request(request))
            except ProviderError as error:
                # If the form was refused, nothing was answered or charged. There are three.
                if not structured.is_to_be_asked_otherwise(error):
                    raise

    async def _ask_provider(self, request: ChatRequest) -> Completion:
        return await self.client.ask(
            self.deployment.upstream,
            request,
            _time_limits(),
            self._write,
            self._read_delay,
            _answer_limits(),
        )

    def _deadline(self) -> AbstractAsyncContextManager[object]:
        at = self.task.deadline_at
        if at is None:
            return nullcontext()
        return asyncio.timeout((at - timezone.now()).total_seconds())

    # --- Structured output ----------------------------------------------------------------------
    async def check_output(self) -> None:
        """Check a whole answer against the task's JSON Schema, if it has one. Code fences and words
        around its JSON are left out. Raises Unavailable if it cannot be checked now."""
        structured, completion = self.structured, self.state.completion
        if structured is None or completion is None or self.state.stop is Stop.CANCELLED:
            return
        if completion.is_refusal:
            # OpenAI's `finish_reason` is `stop` then as well.
            self.state.is_refusal = True
            self.state.completion = msgspec.structs.replace(completion, finish_reason=REFUSAL)
            return
        if not is_held_to_schema(completion.finish_reason, completion.tool_calls):
            return
        text, reasoning = structured.take_held() if structured.is_held else (self.log.text, "")
        found = await structured.check(self.task, text, completion.usage)
        if isinstance(found, Misfit):
            self.state.misfit = found
        else:
            self.state.has_output = True
            text = found
        if structured.is_held:
            structured.hold(text, reasoning)

    def release_held(self) -> None:
        """Write into the log what was held back: the answer that fits, or all there is."""
        if self.structured is not None:
            self.log.write(*self.structured.take_held())

    @property
    def is_withheld(self) -> bool:
        """Whether the text that was held back is stored and not streamed: it does not fit the
        schema, or it is a refusal, which clients recognise by the finish reason of the end."""
        return self.state.misfit is not None or self.state.is_refusal

    @property
    def text_and_reasoning(self) -> tuple[str, str]:
        """The answer so far: what is held back, or what the log has."""
        if self.structured is not None and any(held := self.structured.held):
            return held
        return self.log.text, self.log.reasoning

    # --- Called by the client and the log -------------------------------------------------------
    def _write(self, delta: Delta) -> None:
        """Add text to the log. Raises nothing: it is called where all calls' bytes are read."""
        try:
            if self.state.first_token_at is None:
                self._first_text_came()
            is_held = self.structured is not None and self.structured.is_held
            if delta.logprobs:
                self.log.add_logprobs(delta.logprobs, is_held=is_held)
            if self.structured is not None and is_held:
                self.structured.hold(delta.text, delta.reasoning)
            else:
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
        listeners = self.log.listeners
        if listeners.are_there or self.on_first_text is not None:
            return 0.0
        return listeners.read_delay_seconds

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
        logprobs_bytes=settings.LLM_MAX_LOGPROBS_BYTES,
    )
