"""What passes through the stages of a submit: a request, and what the stages have made of it."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

import msgspec

from accounts.access.limits import Requester
from aily.problems import Problem
from aily.redis.rates import Rate
from chat import scheduler
from chat.events import WaitingFor
from chat.models import Lane, LLMModel, Scene, SceneVersion, ServedFrom, StoredResponse, Task
from chat.services.history import History
from chat.services.output_formats import NeedsSchemaCheckError
from chat.services.rendering import Rendered
from chat.services.repeats import OwnedKey
from chat.services.submission import CompositeRequest, EmbeddingsRequest, TaskRequest

logger = logging.getLogger(__name__)

_NO_PLACE = scheduler.Place(None, None)


@dataclass(frozen=True, slots=True)
class ResponseDraft:
    """The columns of a response, stored with its task."""

    #: The fields of the request that the response repeats.
    request: Mapping[str, object]
    #: The input items, with their ids.
    input: Sequence[object]
    previous_id: UUID | None = None
    has_instructions: bool = False
    is_background: bool = False
    is_streamed: bool = False

    def of(self, task_id: UUID) -> StoredResponse:
        return StoredResponse(
            task_id=task_id,
            previous_id=self.previous_id,
            request=self.request,
            input=self.input,
            has_instructions=self.has_instructions,
            is_background=self.is_background,
            is_streamed=self.is_streamed,
        )


@dataclass(frozen=True, slots=True)
class Submission:
    """One request of one user. `default_lane` is its lane if the request names none."""

    owner_id: int
    request: TaskRequest
    default_lane: Lane = Lane.NORMAL
    idempotency_key: str | None = None
    #: A digest of what was sent, where `request` was made of it and of what there was then, such as
    #: a scene's variables: a repeat is the same, whatever its request would be made of now.
    sent_digest: str = ""
    #: The API key that authenticated the request; None: a session.
    api_key_id: int | None = None
    #: The run that it is a row of, and the id that its task gets.
    run_id: UUID | None = None
    task_id: UUID | None = None
    #: The run's deadline, beside that of the request.
    deadline_at: datetime | None = None
    #: Whether equal requests of this owner may be answered by one call, whatever the scene says.
    shares_with_owner: bool = False
    #: Whether `request.version` was live when the run began: it needs no right to edit the scene.
    is_version_pinned: bool = False
    #: The W3C trace context of the request; empty while traces are off.
    traceparent: str = ""
    #: Whose limit of requests a minute this counts against; None: it is counted already.
    uncounted: Requester | None = None
    #: Makes what OpenAI's Responses API keeps beside the task; None: nothing.
    response: ResponseDraft | None = None
    #: What the counting has found, where the request was counted by an earlier batch.
    rate: Rate | None = None
    #: The scene's messages, if rendering them was too much work for a batch.
    rendered: Rendered | None = None

    @property
    def owned_key(self) -> OwnedKey | None:
        return (self.owner_id, self.idempotency_key) if self.idempotency_key else None

    @property
    def stored_digest(self) -> str:
        """What is stored with the idempotency key."""
        return self.sent_digest or self.digest()

    def repeats(self, digest: str) -> bool:
        """Whether it is the request that was stored with this digest."""
        return digest in (self.sent_digest, self.digest())

    def digest(self) -> str:
        # A WebSocket frame has further fields, which are no part of the request.
        is_chat = isinstance(self.request, CompositeRequest)
        request_class = CompositeRequest if is_chat else EmbeddingsRequest
        body = self.request.model_dump_json(
            include=set(request_class.model_fields), exclude_defaults=True
        ).encode()
        if self.response is not None:
            draft = self.response
            body += msgspec.json.encode([draft.request, draft.is_background, draft.is_streamed])
        return hashlib.sha256(body).hexdigest()


@dataclass(frozen=True, slots=True)
class Accepted:
    """A committed task. `position` and `eta_seconds` are None if Redis has just gone away."""

    task_id: str
    status: str
    position: int | None = None
    eta_seconds: float | None = None
    waiting_for: WaitingFor | None = None
    #: False if an earlier request with this Idempotency-Key made the task.
    is_new: bool = True
    #: True if it waits for a call of its own, which no other task can have begun.
    waits_alone: bool = False
    #: The first message of the conversation that is sent, if older ones are left out.
    history_from: UUID | None = None
    #: Of the limit of requests a minute that this request was counted against; None: of none.
    rate: Rate | None = None


def add_rate(refusal: Problem, rate: Rate | None) -> None:
    """Have a refusal say how many requests are left."""
    if rate is not None:
        refusal.headers = {**rate.headers(), **refusal.headers}


@contextmanager
def rate_in_refusals(rate: Rate | None) -> Iterator[None]:
    """Do what a counted request needs apart from its batch."""
    try:
        yield
    except Problem as refusal:
        add_rate(refusal, rate)
        raise


class NeedsRenderingError(Exception):
    """This version is too much work for a batch: render it first, in another process."""

    def __init__(self, version: SceneVersion) -> None:
        super().__init__(version.pk)
        self.version = version
        #: What counting the request has found.
        self.rate: Rate | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """The rows that a request names, and that its owner may use now."""

    scene: Scene | None
    version: SceneVersion | None
    model: LLMModel
    #: Ids of the models that take over, in order.
    fallbacks: list[int]
    #: The conversation that the request continues.
    history: History | None
    #: The owner's share of the queue.
    weight: float
    #: The endpoint that the request names.
    webhook_id: int | None


@dataclass(slots=True, repr=False, eq=False)
class PendingSubmission:
    """A submission on its way to a task.

    It is open until a stage refuses it, or finds the task that its idempotency key has made before.
    Later stages pass over what is not open.
    """

    submission: Submission
    #: Set by `resolve`.
    target: Target = field(init=False)
    #: Set by `build`; a committed row from `store` on. Of a repeated request the earlier task.
    task: Task = field(init=False)
    is_repeat: bool = False
    refusal: Exception | None = None
    #: Set once the request is counted.
    rate: Rate | None = None
    #: Set by `enqueue`.
    place: scheduler.Place = _NO_PLACE

    @property
    def is_open(self) -> bool:
        return self.refusal is None and not self.is_repeat

    def refuse(self, error: Exception) -> None:
        # Without its traceback, whose frames refer to this object: a cycle keeps the whole batch
        # until the garbage collector comes, which is seldom.
        self.refusal = error.with_traceback(None)

    def reuse(self, task: Task) -> None:
        """Answer with the task that an equal request has made before, even if refused since."""
        self.task, self.is_repeat, self.refusal = task, True, None

    def _add_rate(self, refusal: Exception) -> None:
        if isinstance(refusal, NeedsRenderingError | NeedsSchemaCheckError):
            refusal.rate = self.rate
        elif isinstance(refusal, Problem):
            add_rate(refusal, self.rate)

    def outcome(self) -> Accepted | Exception:
        if self.refusal is not None:
            self._add_rate(self.refusal)
            return self.refusal
        task, place = self.task, self.place
        return Accepted(
            str(task.pk),
            task.status,
            place.position,
            place.eta_seconds,
            place.waiting_for,
            is_new=not self.is_repeat,
            waits_alone=not self.is_repeat and task.served_from == ServedFrom.PROVIDER,
            history_from=task.history_from,
            rate=self.rate,
        )


def open_in(batch: Iterable[PendingSubmission]) -> list[PendingSubmission]:
    return [pending for pending in batch if pending.is_open]


def take_on(batch: Iterable[PendingSubmission], step: Callable[[PendingSubmission], None]) -> None:
    """Take each open submission one step on. What a step raises refuses that submission alone."""
    for pending in open_in(batch):
        try:
            step(pending)
        except (Problem, NeedsRenderingError, NeedsSchemaCheckError) as refusal:
            pending.refuse(refusal)
        except Exception as fault:
            # A fault of ours in one request must not fail those that came with it.
            logger.exception("a request could not be built")
            pending.refuse(fault)


def new_tasks(batch: Iterable[PendingSubmission]) -> list[Task]:
    return [pending.task for pending in batch if pending.is_open]
