"""The responses of one WebSocket: those of a lane one after the other, lanes side by side."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from http import HTTPStatus
from uuid import UUID

from aily.concurrency.jobs import Jobs
from aily.database.outages import as_problem, is_away
from aily.database.replica import anote_write
from aily.observability.metrics import request_error
from aily.problems import Problem, Unexpected
from aily.web.flow_control import Workload
from chat.openai.accepting import AcceptedTask
from chat.openai.callers import Caller
from chat.openai.errors import OpenAIError
from chat.openai.requests import unsupported
from chat.openai.responses.approvals import Answer, answers_of, resume
from chat.openai.responses.creation import Prepared, named_as_sent, prepare
from chat.openai.responses.fields import ResponseCall, read_call
from chat.openai.responses.items import to_messages
from chat.openai.responses.memory import Memory
from chat.openai.responses.objects import JsonObject
from chat.openai.responses.replay import follow_events, resumed_events
from chat.openai.waiters import Waiter, get_keeper
from chat.services.submit import Accepted, submit

logger = logging.getLogger(__name__)

#: Responses of one socket being made at once, and its lanes.
MAX_AT_ONCE, MAX_LANES = 16, 32
#: Requests of one socket that have not been answered, and their bytes; the next is read then.
MAX_WAITING, MAX_WAITING_BYTES = 256, 1_048_576
_MAX_LANE_CHARS = 256
#: Fields of a frame that are none of the response's.
_OF_FRAME = ("type", "stream_id", "generate", "stream")

Send = Callable[[JsonObject], Awaitable[None]]


class Lanes:
    """`send` sends one frame, and returns once the client keeps up."""

    def __init__(self, caller: Caller, headers: Mapping[str, str], send: Send) -> None:
        self._caller = caller
        self._headers = headers
        self._send = send
        self._memory = Memory(caller.owner_id)
        self._jobs = Jobs("a lane of a socket")
        self._drops = Jobs("dropping a response")
        self._waiting: dict[str | None, deque[tuple[JsonObject, int]]] = {}
        self._places = asyncio.Semaphore(MAX_AT_ONCE)
        self._workload = Workload(MAX_WAITING, MAX_WAITING_BYTES)

    async def add(self, frame: JsonObject, size: int) -> None:
        """Put a `response.create` of `size` bytes into its lane. Returns once there is room.

        Raises OpenAIError.
        """
        lane = frame.get("stream_id")
        if lane is not None and not (isinstance(lane, str) and 0 < len(lane) <= _MAX_LANE_CHARS):
            raise OpenAIError(HTTPStatus.BAD_REQUEST, "This is no stream_id.", param="stream_id")
        if lane not in self._waiting and len(self._waiting) >= MAX_LANES:
            message = f"There are {MAX_LANES} lanes with responses on this connection already."
            raise OpenAIError(HTTPStatus.TOO_MANY_REQUESTS, message, code="rate_limit_exceeded")
        await self._workload.enter(size)
        if lane in self._waiting:
            self._waiting[lane].append((frame, size))
        else:
            self._waiting[lane] = deque([(frame, size)])
            self._jobs.spawn(self._run(lane))

    def cancel(self) -> None:
        """The connection is closed."""
        self._jobs.cancel()
        self._memory.clear()

    async def _run(self, lane: str | None) -> None:
        waiting = self._waiting[lane]
        try:
            while waiting:
                frame, size = waiting.popleft()
                try:
                    async with self._places:
                        await self._respond(frame, lane)
                finally:
                    self._workload.leave(size)
        finally:
            del self._waiting[lane]

    async def _respond(self, frame: JsonObject, lane: str | None) -> None:
        try:
            await self._make(frame, lane)
        except Exception as error:  # noqa: BLE001 - logged, and sent to the client
            await self.send_error(_error_of(error), lane)

    async def _make(self, frame: JsonObject, lane: str | None) -> None:
        if frame.get("background"):
            raise unsupported("On a WebSocket there are no background responses.", "background")
        if frame.get("generate") is False:
            raise unsupported("There is nothing to warm up here.", "generate")
        body = {name: value for name, value in frame.items() if name not in _OF_FRAME}
        call = read_call({**body, "stream": True}, self._headers)
        if answers := answers_of(call):
            await self._resume(call, answers, lane)
            return
        prepared = await prepare(
            call,
            self._caller.owner_id,
            context=self._memory.messages(call.previous_response_id),
            items=self._memory.items(),
        )
        await self._stream(prepared, lane)

    async def _stream(self, prepared: Prepared, lane: str | None) -> None:
        accepted = await self._submit(prepared)
        facts, owner_id = prepared.form.facts(accepted.task_id), self._caller.owner_id
        is_new = accepted.waits_alone
        events = follow_events(facts, owner_id, is_streamed=True, is_new=is_new)
        async with _held(accepted.task_id, owner_id) as task, aclosing(events):
            await anote_write(owner_id)
            async for event in events:
                task.is_answered = event.is_last
                if event.is_last:
                    self._remember(prepared, event.fields["response"])
                await self._send(_in_lane(event.body(), lane))

    async def _submit(self, prepared: Prepared) -> Accepted:
        """Submit the task. If the socket is closed meanwhile, it is accepted all the same, and
        dropped: it would run for nobody."""
        submitting = asyncio.ensure_future(submit(prepared.submission(self._caller)))
        try:
            return await asyncio.shield(submitting)
        except asyncio.CancelledError:
            submitting.add_done_callback(self._drop_accepted)
            raise

    def _drop_accepted(self, submitting: asyncio.Future[Accepted]) -> None:
        if not submitting.cancelled() and submitting.exception() is None:
            self._drops.spawn(_drop(submitting.result().task_id, self._caller.owner_id))

    async def _resume(
        self, call: ResponseCall, answers: Sequence[Answer], lane: str | None
    ) -> None:
        """Go on with a response that has waited for its user."""
        owner_id = self._caller.owner_id
        resumed = await resume(call, owner_id, answers)
        await anote_write(owner_id)
        events = resumed_events(
            resumed.facts, owner_id, resumed.cursor, resumed.asked, is_streamed=True
        )
        async with _held(str(resumed.facts.task_id), owner_id) as task, aclosing(events):
            async for event in events:
                task.is_answered = event.is_last
                await self._send(_in_lane(event.body(), lane))

    def _remember(self, prepared: Prepared, response: JsonObject) -> None:
        if prepared.call.is_stored:
            return
        first = 0 if prepared.call.instructions is None else 1
        answered = [item for item in response["output"] if item.get("status") == "completed"]
        self._memory.add(response, [*prepared.messages[first:], *to_messages(answered)])

    async def send_error(self, error: OpenAIError, lane: str | None = None) -> None:
        request_error("responses_socket", error.code or error.type).inc()
        body = error.body()["error"]
        if error.headers and isinstance(body, dict):
            body = {**body, "headers": error.headers}
        frame = {"type": "error", "status": int(error.status), "error": body}
        await self._send(_in_lane(frame, lane))


def _held(task_id: str, owner_id: int) -> AcceptedTask:
    """The task, for as long as this socket waits for it: then it is cancelled unless it has ended.
    Nothing can find it again: a request of another socket is another one."""
    waiter = Waiter(secrets.token_hex(16), UUID(task_id), owner_id)
    get_keeper().hold(waiter)
    return AcceptedTask(task_id, is_new=True, waiter=waiter)


async def _drop(task_id: str, owner_id: int) -> None:
    async with _held(task_id, owner_id):
        pass


def _in_lane(frame: JsonObject, lane: str | None) -> JsonObject:
    return frame if lane is None else {**frame, "stream_id": lane}


def _error_of(error: Exception) -> OpenAIError:
    if isinstance(error, OpenAIError):
        return error
    if isinstance(error, Problem):
        return named_as_sent(error)
    if is_away(error):
        return OpenAIError.of(as_problem(error))
    logger.error("a response could not be made", exc_info=error)
    return OpenAIError.of(Unexpected("Something went wrong here. It has been logged."))
