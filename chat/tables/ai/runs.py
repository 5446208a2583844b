"""Making runs of AI fields, and saying before what they cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from django.db import transaction
from pydantic import JsonValue

from accounts.models import User
from accounts.owner_lock import lock_owner
from aily.database.long_transactions import long_transaction
from aily.problems import InvalidRequest, NotFound
from chat.exceptions import because
from chat.models import Lane, Run, RunState
from chat.models.ids import tagged_id
from chat.reasons import Reason
from chat.runs import clock, control, estimating, sampling
from chat.runs.creation import NewRun, check_fields, check_start, require_room
from chat.runs.states import change_state
from chat.tables.ai import preparing
from chat.tables.ai.config import in_order, store_config
from chat.tables.ai.examples import resolved_mapping
from chat.tables.ai.fields import live_ai_fields, request_options, require_readable_links
from chat.tables.ai.selection import Scope, Survey, copy_rows, insert_rows, survey
from chat.tables.ai.sources import Source, load_sources
from chat.tables.fields import live_fields
from chat.tables.models import AiField, AiRun, Comparison
from chat.tables.queries.execution import bounded_query

KIND = "table"
#: AI fields that one run fills, row by row.
MAX_CHAINED = 10


class NothingToFill(InvalidRequest):
    """A scope without a cell to fill."""


@dataclass(frozen=True, slots=True)
class NewAiRun:
    """What a run is asked for. `try_rows`: so many rows are run now, and the rest waits for its
    start. `also`: AI fields that are filled in the same turn, those before that they read.
    `run_id`: what its id shall be, so that asked twice it is made once."""

    scope: Scope = field(default_factory=Scope)
    start: str = ""
    start_at: datetime | None = None
    max_cost: Decimal | None = None
    deadline_at: datetime | None = None
    max_open: int | None = None
    webhook: int | None = None
    shares_equal_rows: bool = False
    try_rows: int = 0
    also: Sequence[int] = ()
    is_automatic: bool = False
    run_id: UUID | None = None


def create_runs(
    user: User, api_key_id: int | None, ai_field: AiField, new: NewAiRun
) -> list[AiRun]:
    """Make a run, or one for each AI field that is filled in the same turn, in their order, and
    start or try them. All of it happens, or nothing. Raises Problem."""
    check_start(new.start, new.start_at)
    chain = _chain(ai_field, new.also)
    sources = load_sources([each.pk for each in chain])
    with long_transaction():
        made: list[AiRun] = []
        for each in chain:
            source = sources[each.pk]
            ai_run = add_run(user, api_key_id, source, new, [other.pk for other in made])
            if made:
                copy_rows(ai_run.run, made[0].pk)
            else:
                _insert_rows(user, ai_run.run, source, new.scope, is_chained=len(chain) > 1)
            made.append(ai_run)
        for ai_run in made:
            if not ai_run.run.pending:
                # Of a chain whose first cells are filled already.
                change_state(ai_run.run, [RunState.READY], RunState.DONE, ended_at=clock.now())
            elif new.start:
                control.start(ai_run.run, new.start, new.start_at)
        # Tasks are queued by this: not before their run is committed.
        if new.try_rows:
            transaction.on_commit(lambda: _try(made[-1].run, new.try_rows))
    return made


def _try(run: Run, rows: int) -> None:
    control.try_rows(run, rows)


def _chain(ai_field: AiField, also: Sequence[int]) -> list[AiField]:
    """The AI fields of a run, each after those that it reads. Raises NotFound."""
    if not also:
        return [ai_field]
    if len(also) >= MAX_CHAINED:
        raise because(
            InvalidRequest, Reason.of("too_many_chained", limit=MAX_CHAINED), field="also"
        )
    by_id = {found.pk: found for found in live_ai_fields(ai_field.table_id)}
    for number in also:
        if number not in by_id:
            raise because(NotFound, Reason.of("no_ai_field_of_id", id=number), field="also")
    fields = {field.pk: field for field in live_fields(ai_field.table_id)}
    return in_order([by_id[pk] for pk in sorted({ai_field.pk, *also})], fields)


def _check_may_ask(user: User, api_key_id: int | None, source: Source, new: NewAiRun) -> None:
    """The user who starts a run pays for it, and must be allowed to use its scene and model."""
    row = source.ai_field
    if source.missing:
        deleted = Reason.of("mapped_deleted")
        raise because(InvalidRequest, deleted, field="mapping")
    require_readable_links(user, row)
    asked = NewRun(
        name=row.name,
        format=KIND,
        scene=row.scene,
        mapping=resolved_mapping(source),
        options=request_options(row),
        deadline_at=new.deadline_at,
        webhook=new.webhook,
    )
    check_fields(user.pk, api_key_id, asked)


def add_run(
    user: User,
    api_key_id: int | None,
    source: Source,
    new: NewAiRun,
    waits_for: Sequence[UUID] = (),
    comparison: Comparison | None = None,
) -> AiRun:
    """Insert a run without its rows, in the caller's transaction. Raises Problem."""
    lock_owner(user.pk)
    require_room(user.pk)
    _check_may_ask(user, api_key_id, source, new)
    row = source.ai_field
    config = store_config(row, source.content)
    run = new_run(user, api_key_id, source, new)
    run.save(force_insert=True)
    ai_run = AiRun(
        run=run,
        table_id=row.table_id,
        ai_field=row,
        config=config,
        scope=_as_json(new.scope),
        which=new.scope.which,
        overwrites_edited=new.scope.overwrites_edited,
        condition=row.condition,
        waits_for=[str(run_id) for run_id in waits_for],
        is_automatic=new.is_automatic,
        comparison=comparison,
    )
    ai_run.save(force_insert=True)
    return ai_run


def _insert_rows(user: User, run: Run, source: Source, scope: Scope, *, is_chained: bool) -> None:
    insert_rows(user, run, source, scope, is_chained=is_chained)
    if not run.total or (not run.pending and not is_chained):
        raise because(NothingToFill, Reason("nothing_to_fill"), field="scope")


def new_run(user: User, api_key_id: int | None, source: Source, new: NewAiRun) -> Run:
    """The engine's row of a run, which is not stored."""
    row = source.ai_field
    version = source.content["version"]
    return Run(
        id=new.run_id or tagged_id(),
        owner_id=user.pk,
        api_key_id=api_key_id,
        kind=KIND,
        name=row.name[:200],
        source={"rows": KIND},
        scene=row.scene,
        scene_version=version if isinstance(version, int) else None,
        mapping=resolved_mapping(source),
        options=request_options(row),
        lane=Lane.BATCH,
        state=RunState.READY,
        max_cost=new.max_cost,
        deadline_at=new.deadline_at,
        max_open=new.max_open,
        webhook_id=new.webhook,
        shares_equal_rows=new.shares_equal_rows,
    )


def _as_json(scope: Scope) -> dict[str, JsonValue]:
    given: dict[str, JsonValue] = {
        "view": scope.view,
        "filter": scope.filter,
        "rows": list(scope.rows) if scope.rows is not None else None,
        "first": scope.first,
        "random": scope.random,
    }
    return {name: value for name, value in given.items() if value is not None}


# --- Estimating ---------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class ScopeEstimate:
    """What a run of a scope would cost, and how many rows it would have."""

    survey: Survey
    estimate: estimating.Estimate


def estimate_scope(
    user: User, api_key_id: int | None, ai_field: AiField, new: NewAiRun
) -> ScopeEstimate:
    """Estimate a run that is not made: nothing is stored. Raises Problem."""
    source = load_sources([ai_field.pk])[ai_field.pk]
    _check_may_ask(user, api_key_id, source, new)
    if source.content["version"] is None:
        raise because(
            InvalidRequest, Reason.of("no_live_version", name=repr(ai_field.scene)), field="scene"
        )
    with bounded_query():
        found = survey(user, source, new.scope, sampling.SAMPLE_ROWS)
    if not found.rows:
        raise because(NothingToFill, Reason("nothing_to_fill"), field="scope")
    run = new_run(user, api_key_id, source, new)
    rows = preparing.sample_of(source, found.sample)
    drafts = sampling.draft_rows(run, rows)
    pending = estimating.PendingRows(found.rows, found.bytes)
    return ScopeEstimate(found, estimating.estimate(run, drafts, pending, found.duplicates))


# --- Finding ------------------------------------------------------------------------------------
def get_ai_run(run_id: UUID) -> AiRun:
    """A run of an AI field with all that belongs to it. Raises NotFound."""
    found = (
        AiRun.objects.select_related(
            "run__model", "run__owner", "table", "table__owner", "ai_field"
        )
        .filter(pk=run_id, table__deleted_at=None)
        .first()
    )
    if found is None:
        raise no_run()
    return found


def no_run() -> NotFound:
    return because(NotFound, Reason("no_such_run"), field="run_id")
