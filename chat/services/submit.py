"""Accepting tasks: from a valid request to a committed row, a place in the queue and a ring.

Submits that arrive together share the look-ups, one transaction and one Redis round trip.
"""

from __future__ import annotations

import hashlib
import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from uuid import UUID

from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts.access.limits import Requester, count_requests
from accounts.access.permissions import PermissionSet, permission_sets
from aily.concurrency.batching import Batcher, Pace
from aily.concurrency.faults import note_fault, surviving
from aily.concurrency.loops import per_loop
from aily.database.statements import fetch_each
from aily.database.threads import in_database
from aily.observability import tracing
from aily.problems import Conflict, InvalidRequest, NotFound, Problem, Unavailable
from aily.redis.clients import RedisAway, is_redis_away, redis_unavailable, require_redis
from chat import accounting, actors, eventlog, scheduler
from chat.accounting import BudgetsInForce
from chat.events import WaitingFor
from chat.exceptions import BudgetExceeded, ConversationBusy
from chat.models import (
    Lane,
    LLMModel,
    Scene,
    SceneVersion,
    ServedFrom,
    Status,
    Task,
    flights,
)
from chat.models.conversations import (
    AlreadyReplacedError,
    AssistantTurn,
    HistoryChangedError,
    claim,
    store_assistant_turns,
    store_user_turns,
)
from chat.models.ids import is_own, tagged_id
from chat.models.insertion import insert_tasks, new_task
from chat.models.tasks import ACTIVE
from chat.observability import metrics
from chat.observability.tracing import remember as remember_traces
from chat.rendering.prompt import Messages
from chat.rendering.template import HeavyWorkError
from chat.services import catalog, history, limits, prompts, repeats, sharing
from chat.services.catalog import Catalog
from chat.services.history import History
from chat.services.parameters import merged
from chat.services.rendering import Rendered, render, render_apart
from chat.services.repeats import Known, OwnedKey
from chat.services.submission import CompositeRequest

logger = logging.getLogger(__name__)

#: How often a scene may get another version while its prompt is being rendered.
_MAX_RENDERINGS = 3

USE_SCENE, USE_MODEL = "chat.use_scene", "chat.use_llmmodel"


@dataclass(frozen=True, slots=True)
class Submission:
    """One request of one user. `default_lane` holds where the request names none."""

    owner_id: int
    request: CompositeRequest
    default_lane: Lane = Lane.NORMAL
    idempotency_key: str | None = None
    #: The key that the user came with; None: a session.
    api_key_id: int | None = None
    #: The trace that the task belongs to, while traces are on.
    traceparent: str = ""
    #: Whose request it is, where it is still to be counted.
    uncounted: Requester | None = None
    #: What the scene became, where that was too much work for a batch.
    rendered: Rendered | None = None

    @property
    def owned_key(self) -> OwnedKey | None:
        return (self.owner_id, self.idempotency_key) if self.idempotency_key else None

    def digest(self) -> str:
        # A frame is a request with fields of its own, which say nothing of what is asked for.
        body = self.request.model_dump_json(
            include=set(CompositeRequest.model_fields), exclude_defaults=True
        )
        return hashlib.sha256(body.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Accepted:
    """A committed task. `position` and `eta_seconds` are None where Redis has just gone away."""

    task_id: str
    status: str
    position: int | None = None
    eta_seconds: float | None = None
    waiting_for: WaitingFor | None = None
    #: False when the Idempotency-Key had made it before.
    is_new: bool = True
    #: True when it waits for a call of its own, which nobody else can have begun.
    waits_alone: bool = False
    #: The first message of the conversation that is sent, where older ones are not.
    history_from: UUID | None = None


class _NeedsRenderingError(Exception):
    """This version is to be rendered outside the batch."""

    def __init__(self, version: SceneVersion) -> None:
        super().__init__(version.pk)
        self.version = version


@dataclass(slots=True)
class _Lookups:
    """What a batch needs from the database, each table asked once."""

    catalog: Catalog
    budgets: BudgetsInForce
    #: Tasks that the submissions' idempotency keys have made before.
    known: dict[OwnedKey, Known] = field(default_factory=dict)
    histories: dict[tuple[int, UUID], History] = field(default_factory=dict)
    #: Of the owners; empty where nothing that is asked for is restricted.
    permissions: dict[int, PermissionSet] = field(default_factory=dict)


async def submit(submission: Submission) -> Accepted:
    """Accept one task. Raises Problem; then nothing was stored.

    Where Redis goes away between the check and the queueing, the task is accepted all the same, and
    the sweep queues it.
    """
    try:
        await require_redis()
    except Unavailable:
        if submission.idempotency_key is None:
            raise
    with tracing.span("submit", kind="producer"):
        if tracing.is_on():
            submission = replace(submission, traceparent=tracing.traceparent())
        accepted = await _submit_rendered(submission)
    logger.debug("accepted", extra={"task_id": accepted.task_id})
    return accepted


async def _submit_rendered(submission: Submission) -> Accepted:
    """A prompt that is much work is rendered between two batches, so that it holds up nobody."""
    for _ in range(_MAX_RENDERINGS):
        try:
            return await _batcher().submit(submission)
        except _NeedsRenderingError as needed:
            variables = submission.request.variables
            rendered = await render_apart(needed.version, variables, submission.owner_id)
            submission = replace(submission, rendered=rendered, uncounted=None)
    raise Conflict("This scene is being changed; submit again.", field="scene")


@per_loop
def _batcher() -> Batcher[Submission, Accepted]:
    async def handle(submissions: list[Submission]) -> Sequence[Accepted | Exception]:
        return await in_database(_count_and_submit, submissions)

    return Batcher(handle, max_batches=2, pace=Pace(), name="submit")


def _count_and_submit(submissions: Sequence[Submission]) -> list[Accepted | Exception]:
    """Requests over a limit a minute get their RateLimited, the others are submitted; none while
    Redis is away, as the counting may be the first to find out. A repeated one gets its task all
    the same."""
    refusals: list[Problem | None] = [*count_requests([one.uncounted for one in submissions])]
    if is_redis_away():
        refusals = [redis_unavailable() for _ in submissions]
    allowed = [
        submission
        for submission, refusal in zip(submissions, refusals, strict=True)
        if refusal is None
    ]
    outcomes = iter(submit_many(allowed) if allowed else [])
    if len(allowed) == len(submissions):
        return list(outcomes)
    return _reuse_refused(submissions, [refusal or next(outcomes) for refusal in refusals])


def _reuse_refused(
    submissions: Sequence[Submission], outcomes: Sequence[Accepted | Exception]
) -> list[Accepted | Exception]:
    """Give the task made before where a request is refused that only repeats another."""
    repeated = repeats.reuse_refused(submissions, outcomes)
    places = enqueue([task for task in repeated if isinstance(task, Task)])
    return [
        _accepted(repeat, places.get(str(repeat.pk)), is_new=False)
        if isinstance(repeat, Task)
        else repeat or outcome
        for repeat, outcome in zip(repeated, outcomes, strict=True)
    ]


def submit_many(submissions: Sequence[Submission]) -> list[Accepted | Exception]:
    """Accept what can be accepted; each submission gets its Accepted or its Problem."""
    lookups = _look_up(submissions)
    # First of all: a repeated request is not held against what has changed since.
    repeated = repeats.reuse(submissions, lookups.known)
    outcomes, new_tasks = _accept(
        [one for one, repeat in zip(submissions, repeated, strict=True) if repeat is None], lookups
    )
    rest = iter(outcomes)
    outcomes = [next(rest) if repeat is None else repeat for repeat in repeated]
    # From here on they are accepted, whatever breaks.
    with surviving("counting submits"):
        _count(new_tasks)
    with surviving("tracing submits"):
        remember_traces(
            (str(task.pk), one.traceparent)
            for one, task in zip(submissions, outcomes, strict=True)
            if isinstance(task, Task)
        )
    places = enqueue([task for task in outcomes if isinstance(task, Task)])
    with surviving("announcing kept answers"):
        _announce_answered(new_tasks)
    new_ids = {task.pk for task in new_tasks}
    return [
        outcome
        if isinstance(outcome, Exception)
        else _accepted(outcome, places.get(str(outcome.pk)), outcome.pk in new_ids)
        for outcome in outcomes
    ]


def _accept(
    submissions: Sequence[Submission], lookups: _Lookups
) -> tuple[list[Task | Exception], list[Task]]:
    """A task or the reason against it for each submission, and those of the tasks that are new."""
    built_tasks = [_try_to_build(submission, lookups) for submission in submissions]
    with limits.admitted(built_tasks) as admitted_tasks:
        outcomes = _store(submissions, admitted_tasks, lookups.budgets)
    outcomes = [
        outcome if repeat is None else repeat
        for outcome, repeat in zip(
            outcomes, repeats.reuse_refused(submissions, outcomes), strict=True
        )
    ]
    # Not those that an equal request of the same moment has made.
    new_tasks = [
        one
        for built, one in zip(built_tasks, outcomes, strict=True)
        if isinstance(one, Task) and one is built
    ]
    return outcomes, new_tasks


def _count(tasks: Sequence[Task]) -> None:
    metrics.count_submitted((task.model.name, Lane(task.lane).name.lower()) for task in tasks)


def _accepted(task: Task, place: scheduler.Place | None, is_new: bool) -> Accepted:
    place = place or scheduler.Place(None, None)
    return Accepted(
        str(task.pk),
        task.status,
        place.position,
        place.eta_seconds,
        place.waiting_for,
        is_new,
        waits_alone=is_new and task.served_from == ServedFrom.PROVIDER,
        history_from=task.history_from,
    )


# --- Building the rows --------------------------------------------------------------------------
def _look_up(submissions: Sequence[Submission]) -> _Lookups:
    slugs = {one.request.scene for one in submissions if one.request.scene}
    owners = {one.owner_id for one in submissions}
    api_keys = {one.api_key_id for one in submissions if one.api_key_id is not None}
    owned_keys = {one.owned_key for one in submissions if one.owned_key}
    at = timezone.now()
    versions, budgets, *known = fetch_each(
        catalog.question(slugs, owners),
        accounting.in_force_question(owners, api_keys, at),
        *([repeats.query(owned_keys)] if owned_keys else []),
    )
    found = catalog.from_rows(versions)
    lookups = _Lookups(found, accounting.in_force_from(budgets, at))
    usable: list[Scene | LLMModel] = [*found.scenes.values(), *found.models.values()]
    if any(one.is_restricted for one in usable):
        lookups.permissions = permission_sets(owners)
    lookups.known = repeats.from_rows(known[0]) if known else {}
    wanted = {
        (one.owner_id, one.request.conversation_id)
        for one in submissions
        if one.request.conversation_id
        and one.owned_key not in lookups.known
        and is_own(one.request.conversation_id)
    }
    if wanted:
        lookups.histories = history.read(wanted)
    return lookups


def _try_to_build(submission: Submission, lookups: _Lookups) -> Task | Exception:
    try:
        return _build(submission, lookups)
    except (Problem, _NeedsRenderingError) as problem:
        return problem
    except Exception as error:
        # A fault of ours in one request is not to fail those that came with it.
        logger.exception("a request could not be built")
        return error


def _build(submission: Submission, lookups: _Lookups) -> Task:
    request = submission.request
    scene = _scene(submission, lookups)
    version = scene.live_version if scene else None
    model = _model(submission, scene, lookups)
    past: History | None = None
    if request.conversation_id:
        past = lookups.histories.get((submission.owner_id, request.conversation_id))
        if past is None:
            raise NotFound("There is no such conversation.", field="conversation_id")
    prompt = prompts.build(request, _rendered(submission, version), past)
    lane = Lane[request.lane.upper()] if request.lane else submission.default_lane
    deadline = request.deadline_seconds
    task = new_task(
        id=tagged_id(),
        owner_id=submission.owner_id,
        api_key_id=submission.api_key_id,
        scene_id=scene and scene.pk,
        scene_version_id=version and version.pk,
        conversation_id=request.conversation_id,
        model_id=model.pk,
        fallbacks=_fallbacks(request, version, model, lookups.catalog),
        weight=lookups.catalog.weights.get(submission.owner_id, 1),
        lane=lane,
        messages=prompt.messages,
        history_from=prompt.history_from,
        params=merged(model.params, version.params if version else {}, request.params()),
        metadata=request.metadata,
        idempotency_key=submission.idempotency_key,
        request_digest=submission.digest() if submission.idempotency_key else "",
        deadline_at=timezone.now() + timedelta(seconds=deadline) if deadline else None,
        needs_settling=True,
    )
    task.model, task.scene, task.scene_version = model, scene, version
    task.user_turn = prompt.user_turn and prompt.user_turn.of(task.pk)
    return task


def _rendered(submission: Submission, version: SceneVersion | None) -> Messages:
    """The scene's messages. Raises _NeedsRenderingError where that is much work."""
    if version is None:
        return []
    known = submission.rendered
    if known is not None and known.version_id == version.pk:
        return known.messages
    try:
        return render(version, submission.request.variables)
    except HeavyWorkError:
        raise _NeedsRenderingError(version) from None


def _scene(submission: Submission, lookups: _Lookups) -> Scene | None:
    slug = submission.request.scene
    if slug is None:
        return None
    scene = lookups.catalog.scenes.get(slug)
    is_usable = scene is not None and scene.is_enabled and scene.live_version is not None
    if scene is None or not is_usable or not _may_use(submission, scene, USE_SCENE, lookups):
        raise NotFound(f"There is no scene {slug!r}.", field="scene")
    return scene


def _model(submission: Submission, scene: Scene | None, lookups: _Lookups) -> LLMModel:
    name = submission.request.model
    if name is not None:
        model = lookups.catalog.models.get(name)
        if model is None or not _is_offered(submission, model, lookups):
            raise InvalidRequest(f"There is no model {name!r}.", field="model")
        return model
    # A scene's own model comes with the scene.
    preferred = scene.live_version.model if scene and scene.live_version else None
    if preferred is not None and preferred.is_enabled and preferred.provider.is_enabled:
        return preferred
    default = lookups.catalog.default_model
    if default is not None and _is_offered(submission, default, lookups):
        return default
    raise InvalidRequest("No model is set as default: name one.", field="model")


def _is_offered(submission: Submission, model: LLMModel, lookups: _Lookups) -> bool:
    is_enabled = model.is_enabled and model.provider.is_enabled
    return is_enabled and _may_use(submission, model, USE_MODEL, lookups)


def _may_use(
    submission: Submission, row: Scene | LLMModel, permission: str, lookups: _Lookups
) -> bool:
    permissions = lookups.permissions.get(submission.owner_id)
    return not row.is_restricted or (
        permissions is not None and permissions.allows(permission, row.pk)
    )


def _fallbacks(
    request: CompositeRequest, version: SceneVersion | None, model: LLMModel, catalog: Catalog
) -> list[int]:
    """The scene's fallback models; none where the caller asked for a certain model."""
    if version is None or request.model is not None:
        return []
    named = (catalog.models.get(name) for name in version.fallback_models)
    return [
        one.pk
        for one in named
        if one is not None and one != model and one.is_enabled and one.provider.is_enabled
    ]


# --- Storing ------------------------------------------------------------------------------------
def _store(
    submissions: Sequence[Submission], outcomes: list[Task | Exception], found: BudgetsInForce
) -> list[Task | Exception]:
    """Insert all tasks in one transaction; one at a time where a constraint objects to some."""
    pairs = [
        (submission, task)
        for submission, task in zip(submissions, outcomes, strict=True)
        if isinstance(task, Task)
    ]
    if not pairs:
        return outcomes
    sharing.prepare([task for _, task in pairs], found)
    by_task: Mapping[UUID, Task | Exception]
    try:
        by_task = _insert(pairs, found)
    except IntegrityError:
        by_task = {task.pk: _store_one(submission, task, found) for submission, task in pairs}
    return [by_task.get(one.pk, one) if isinstance(one, Task) else one for one in outcomes]


def _insert(
    pairs: Sequence[tuple[Submission, Task]], found: BudgetsInForce
) -> dict[UUID, BudgetExceeded]:
    """Insert the tasks that their budgets allow. Returns why not the others."""
    tasks = [task for _, task in pairs]
    if not any(_needs_more_than_a_row(task, found) for task in tasks):
        # One statement is a transaction by itself, and two round trips less.
        insert_tasks(tasks)
        return {}
    with transaction.atomic():
        # What is answered already is free.
        refused = accounting.reserve([one for one in tasks if one.status in ACTIVE], found)
        allowed = [task for task in tasks if task.pk not in refused]
        flights.join(allowed)
        _insert_rows(allowed)
    return refused


def _needs_more_than_a_row(task: Task, found: BudgetsInForce) -> bool:
    return bool(task.conversation_id or task.may_follow or found.of(task))


def _insert_rows(tasks: Sequence[Task]) -> None:
    insert_tasks(tasks)
    turns = [task.user_turn for task in tasks if task.user_turn]
    if not turns:
        return
    # First, as it locks the conversations: from here on what was answered before is there to be
    # seen. A task that is answered already shuts nobody out by itself.
    claim(turns)
    answers = [
        AssistantTurn(task.user_turn.conversation_id, task.pk, task.text)
        for task in tasks
        if task.user_turn and task.status not in ACTIVE
    ]
    answered = [answer.conversation_id for answer in answers]
    if answered and Task.objects.active().filter(conversation_id__in=answered).exists():
        raise HistoryChangedError
    store_user_turns(turns)
    store_assistant_turns(answers)


def _store_one(submission: Submission, task: Task, found: BudgetsInForce) -> Task | Exception:
    """Insert alone, so that the constraint that fails says whose fault it is."""
    try:
        refused = _insert([(submission, task)], found)
    except HistoryChangedError:
        return ConversationBusy(
            "This conversation has just got another message; submit again.",
            field="conversation_id",
        )
    except AlreadyReplacedError:
        return Conflict(
            "The question of this task is not in the conversation any more; it was asked again.",
            field="replaces",
        )
    except IntegrityError as error:
        if "one_active_task_a_conversation" in str(error):
            return ConversationBusy(
                "This conversation is still answering; wait for that or cancel it.",
                field="conversation_id",
            )
        if "unique_owner_idempotency_key" in str(error):
            # Of the same moment; `reuse_refused` finds it.
            return Conflict("A request with this idempotency key has just been accepted.")
        if "chat_task_conversation_id" in str(error):
            return NotFound("There is no such conversation.", field="conversation_id")
        raise
    return refused.get(task.pk, task)


# --- Queueing -----------------------------------------------------------------------------------
def enqueue(tasks: Sequence[Task]) -> dict[str, scheduler.Place]:
    """Make committed tasks ready and ring, but for those that wait for another's answer.

    While Redis is away they wait for the sweep.
    A repeated request may bring one that waits for its next attempt: that goes on waiting.
    """
    by_pool: defaultdict[str, list[scheduler.Entry]] = defaultdict(list)
    now = timezone.now()
    for task in tasks:
        is_due = task.not_before is None or task.not_before <= now
        if task.status == Status.QUEUED and task.leader_id is None and is_due:
            by_pool[task.model.pool].append(
                scheduler.Entry(str(task.pk), task.lane, task.owner_id, task.weight)
            )
    places: dict[str, scheduler.Place] = {}
    try:
        for pool, entries in by_pool.items():
            found, must_ring = scheduler.enqueue(pool, entries)
            places |= {entry.task_id: place for entry, place in zip(entries, found, strict=True)}
            if must_ring:
                actors.ring(pool)
    except RedisAway as error:
        logger.warning("accepted %d tasks, but Redis is away: %s", len(tasks), error)
    except Exception:  # noqa: BLE001 - logged; they are accepted, and the sweep makes them ready
        note_fault("queueing")
    return places


def _announce_answered(tasks: Sequence[Task]) -> None:
    """Tell the owners' sockets of tasks that were answered when they were accepted.

    Whoever follows one of them reads the end in its row.
    """
    answered = [task for task in tasks if task.served_from == ServedFrom.CACHE]
    try:
        eventlog.publish_ends(
            [(task.owner_id, task.terminal_event(f"0-{task.last_event}")) for task in answered]
        )
    except RedisAway as error:
        logger.warning("answered %d tasks, but Redis is away: %s", len(answered), error)
