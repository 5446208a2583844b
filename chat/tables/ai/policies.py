"""Runs that are made by themselves: of empty cells, or also of stale ones.

The owner of the AI field pays. Rows are left alone until they have not been changed for a while, as
people type. A cell that has failed waits for a person: its error would come again.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal

from django.conf import settings
from django.db.models import Sum
from django.utils import timezone

from aily.concurrency.faults import note_fault
from aily.database.errors import is_outage
from aily.problems import Problem
from chat.models import RunState
from chat.models.runs import ENDED_RUNS
from chat.reasons import Reason, ReasonError
from chat.tables.ai.runs import NewAiRun, NothingToFill, create_runs
from chat.tables.ai.selection import Scope
from chat.tables.ai.sources import Source, load_source
from chat.tables.models import AiField, AiRun, Change, Policy, Table, Which
from chat.tables.permissions import Access, has_access

#: A row is left alone for so long after its last change.
SETTLED_SECONDS = 30
_WHICH = {Policy.EMPTY: Which.EMPTY, Policy.FRESH: Which.EMPTY_OR_STALE}


class _LimitError(ReasonError):
    """The field's policy may not go on. `message` may say more than the reason."""

    def __init__(self, reason: Reason, message: str = "") -> None:
        super().__init__(reason)
        self.message = message or str(reason)


def fill_by_policies() -> int:
    """Make the runs that policies ask for. Returns how many. What fails for one AI field keeps no
    other from being filled."""
    made = 0
    wanted = AiField.objects.filter(deleted_at=None, table__deleted_at=None)
    wanted = wanted.exclude(policy=Policy.BY_HAND).select_related("table", "owner")
    for ai_field in wanted.order_by("id"):
        try:
            made += _fill(ai_field)
        except Problem as problem:
            _note(ai_field, problem.message, problem.code, problem.params)
        except _LimitError as limit:
            _note(ai_field, limit.message, "policy_limit", limit.reason.as_params())
        except Exception as error:
            if is_outage(error):
                raise
            note_fault("policies of AI fields")
    return made


def _note(ai_field: AiField, note: str, code: str, params: Mapping[str, str | float]) -> None:
    reason = {"code": code, "params": dict(params)}
    if (ai_field.policy_note, ai_field.policy_reason) != (note[:200], reason):
        AiField.objects.filter(pk=ai_field.pk).update(policy_note=note[:200], policy_reason=reason)


def _clear_note(ai_field: AiField) -> None:
    if ai_field.policy_note:
        AiField.objects.filter(pk=ai_field.pk).update(policy_note="", policy_reason=None)


def _fill(ai_field: AiField) -> bool:
    """Make a run, if there is something to fill. Raises Problem and _LimitError."""
    source = load_source(ai_field.pk)
    rev = ai_field.table.rev
    if ai_field.checked_rev == rev and bytes(ai_field.checked_config or b"") == source.config:
        return False
    owner = ai_field.owner
    if owner is None or not owner.is_active or not has_access(owner, ai_field.table, Access.RUN):
        raise _LimitError(Reason.of("policy_owner"))
    if _is_running(ai_field):
        return False
    new = NewAiRun(
        Scope(
            which=_WHICH[Policy(ai_field.policy)],
            settled_seconds=SETTLED_SECONDS,
            repeats_failed=False,
            limit=_rows_left(ai_field),
        ),
        start="now",
        max_cost=_cost_left(ai_field),
        is_automatic=True,
    )
    is_settled = _is_settled(ai_field.table)
    try:
        create_runs(owner, None, ai_field, new)
    except NothingToFill:
        if is_settled:
            _note_checked(ai_field, source, rev)
        return False
    _clear_note(ai_field)
    return True


def _note_checked(ai_field: AiField, source: Source, rev: int) -> None:
    AiField.objects.filter(pk=ai_field.pk).update(
        checked_rev=rev, checked_config=source.config, policy_note="", policy_reason=None
    )


def _is_settled(table: Table) -> bool:
    """Whether no row has been changed of late."""
    newest = Change.objects.filter(table=table).order_by("-rev").values_list("created_at").first()
    since = timezone.now() - timedelta(seconds=SETTLED_SECONDS + 1)
    return newest is None or newest[0] < since


def _is_running(ai_field: AiField) -> bool:
    """Whether a run of it goes on. Raises _LimitError where one is paused."""
    automatic = AiRun.objects.filter(ai_field=ai_field, is_automatic=True)
    unended = automatic.exclude(run__state__in=ENDED_RUNS).select_related("run").first()
    if unended is not None and unended.run.state == RunState.PAUSED:
        message = f"Its run is paused: {unended.run.message or unended.run.reason}"
        raise _LimitError(Reason.of("policy_run_paused"), message)
    return unended is not None


def _rows_left(ai_field: AiField) -> int:
    limit: int = settings.RUN_MAX_ROWS
    if ai_field.max_rows_per_hour is not None:
        since = timezone.now() - timedelta(hours=1)
        recent = AiRun.objects.filter(
            ai_field=ai_field, is_automatic=True, run__created_at__gte=since
        ).aggregate(rows=Sum("run__total"))
        limit = min(limit, ai_field.max_rows_per_hour - (recent["rows"] or 0))
        if limit <= 0:
            raise _LimitError(Reason.of("policy_rows", limit=ai_field.max_rows_per_hour))
    return limit


def _cost_left(ai_field: AiField) -> Decimal | None:
    if ai_field.max_cost_per_day is None:
        return None
    since = timezone.now() - timedelta(days=1)
    recent = AiRun.objects.filter(
        ai_field=ai_field, is_automatic=True, run__created_at__gte=since
    ).aggregate(cost=Sum("run__cost"))
    left = ai_field.max_cost_per_day - (recent["cost"] or Decimal(0))
    if left <= 0:
        limit = f"{ai_field.max_cost_per_day.normalize():f}"
        raise _LimitError(Reason.of("policy_cost", limit=limit))
    # The limit has six decimals.
    return left.quantize(Decimal("0.000001"))
