"""From a request to its task: a new one, or that of an earlier request which this one repeats."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from math import ceil
from types import TracebackType
from typing import Self
from uuid import UUID

from django.conf import settings
from starlette.requests import Request

from accounts.idempotency import FIELD, parse_key
from aily.database.threads import in_database
from aily.redis.rates import Rate
from aily.web.interruptions import Interruption
from aily.web.turns import end_body_turn
from chat.models import Lane
from chat.openai.callers import Caller
from chat.openai.errors import TryAgainError
from chat.openai.waiters import Waiter, fingerprint, get_keeper
from chat.openai.waiting import disconnection, interrupted, seconds_to_wait
from chat.services.repeats import find_by_key
from chat.services.submission import TaskRequest
from chat.services.submit import ResponseDraft, Submission, submit
from chat.services.waiting import End, Ends

#: Names the task under /api/llmchat/tasks/.
TASK_ID_HEADER = "aily-task-id"
#: How long the task of a client that is asked to return is kept: it does so after a second.
RETURN_SECONDS = 10.0
#: How often the client has sent this very request before.
_RETRY_COUNT = "x-stainless-retry-count"


@dataclass(slots=True)
class AcceptedTask:
    """The task of a request that waits for its end on its connection.

    A context manager: where `is_answered` is not set at its exit, the client is gone, and the task
    is cancelled unless the request is repeated soon. That of a request with an Idempotency-Key goes
    on: the key says that the client comes back for it.
    """

    id: str
    #: It waits for a call of its own that no process can have begun.
    is_new: bool
    waiter: Waiter | None
    #: The caller's limit of requests a minute, and what is left of it, where there is one.
    rate: Rate | None = None
    is_answered: bool = False
    #: The client is asked to send the request again, as its task goes on.
    is_to_return: bool = False

    def headers(self) -> dict[str, str]:
        """Headers of the answer: the task's id, and how many requests are left."""
        headers = {TASK_ID_HEADER: self.id}
        if self.rate is not None:
            headers |= {
                "x-ratelimit-limit-requests": str(self.rate.per_minute),
                "x-ratelimit-remaining-requests": str(self.rate.remaining),
                "x-ratelimit-reset-requests": f"{ceil(self.rate.reset_seconds)}s",
            }
        return headers

    async def wait_for_end(self, ends: Ends, request: Request, caller: Caller) -> End:
        """Wait on the client's connection. Raises what ends the request before: ClientDisconnect,
        or OpenAIError where the access is lost, the time over, or this process shuts down."""
        async with self, caller.lost_access() as lost, disconnection(request.receive) as gone:
            end = await ends.end_of(
                self.id,
                is_new=self.is_new,
                timeout_seconds=seconds_to_wait(request),
                interruptions={Interruption.ACCESS_LOST: lost, Interruption.DISCONNECTED: gone},
            )
            if isinstance(end, Interruption):
                raise interrupted(end)
            self.is_answered = True
        return end

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.waiter is None:
            return
        if self.is_answered:
            get_keeper().release(self.waiter)
            return
        grace: float = settings.DROPPED_REQUEST_SECONDS
        if self.is_to_return or isinstance(error, TryAgainError):
            grace = max(grace, RETURN_SECONDS)
        await get_keeper().drop(self.waiter, grace)


@dataclass(slots=True)
class Incoming:
    """What a request asks for, until its task is accepted.

    Then nothing of it is kept: the answer may be minutes in coming, and a prompt has megabytes.
    """

    body: bytes
    task: TaskRequest | None
    response: ResponseDraft | None = None

    def take(self) -> tuple[bytes, TaskRequest, ResponseDraft | None]:
        """Return its parts, and forget them."""
        body, task, response = self.body, self.task, self.response
        if task is None:
            raise RuntimeError("this request was taken already")
        self.body, self.task, self.response = b"", None, None
        return body, task, response


async def accept(request: Request, caller: Caller, incoming: Incoming) -> AcceptedTask:
    """Submit the task, or find that of the request which this one repeats. Raises Problem.

    `incoming` is empty then. An Idempotency-Key names the request that is repeated. Without one, a
    client that says it tries again gets the task of a dropped request with the same body.
    """
    accepted = await _accept(request, caller, *incoming.take())
    end_body_turn(request.scope)
    return accepted


async def _accept(
    request: Request,
    caller: Caller,
    body: bytes,
    task: TaskRequest,
    response: ResponseDraft | None,
) -> AcceptedTask:
    key = parse_key(request.headers.get(FIELD))
    digest = "" if key else fingerprint(caller.api_key_id, request.scope["path"], body)
    if digest and _is_retry(request):
        repeated = await get_keeper().attach(digest)
        if repeated is not None:
            return AcceptedTask(str(repeated.task_id), is_new=False, waiter=repeated)
    submission = Submission(
        owner_id=caller.owner_id,
        request=task,
        default_lane=Lane.named(caller.lane, Lane.INTERACTIVE),
        idempotency_key=key,
        sent_digest=digest_of_sent(request, body) if key else "",
        api_key_id=caller.api_key_id,
        uncounted=caller.requester,
        response=response,
    )
    accepted = await submit(submission)
    waiter = Waiter(digest, UUID(accepted.task_id), caller.owner_id) if digest else None
    if waiter is not None:
        get_keeper().hold(waiter)
    return AcceptedTask(accepted.task_id, accepted.waits_alone, waiter, accepted.rate)


async def find_repeated(request: Request, caller: Caller, body: bytes) -> AcceptedTask | None:
    """Return the task of the request that this one repeats under its Idempotency-Key, if any.

    For requests that can no longer be carried out as something they name is gone. Raises Problem.
    """
    key = parse_key(request.headers.get(FIELD))
    if key is None:
        return None
    owned = (caller.owner_id, key)
    earlier = (await in_database(find_by_key, [owned])).get(owned)
    if earlier is None or earlier.request_digest != digest_of_sent(request, body):
        return None
    return AcceptedTask(str(earlier.task_id), is_new=False, waiter=None)


def digest_of_sent(request: Request, body: bytes) -> str:
    """For `Submission.sent_digest`."""
    return hashlib.sha256(f"{request.scope['path']}\n".encode() + body).hexdigest()


def _is_retry(request: Request) -> bool:
    count = request.headers.get(_RETRY_COUNT, "0")
    # Not read as a number: it may have any length.
    return count.isascii() and count.isdigit() and bool(count.strip("0"))
