"""What the engine of runs asks of a run of an AI field."""

from __future__ import annotations

from collections.abc import Sequence

from accounts.models import User
from chat.models import Run, RunRow, RunState
from chat.runs import announcing
from chat.runs.kinds import Prepared, RowResult, RunKind, SampledRow
from chat.services.submission import CompositeRequest
from chat.tables.ai import preparing, results
from chat.tables.ai.preparing import load_run_source
from chat.tables.ai.runs import KIND
from chat.tables.ai.variables import request_of
from chat.tables.models import AiRun
from chat.tables.permissions import Access, has_access


class TableRuns(RunKind):
    """The kind of the runs of AI fields."""

    name = KIND

    def prepare(self, run: Run, rows: Sequence[RunRow]) -> Prepared:
        return preparing.prepare(run, load_run_source(run.pk), rows)

    def sample_rows(self, run: Run, limit: int) -> Sequence[SampledRow]:
        return preparing.sample(run, load_run_source(run.pk), limit)

    def count_equal(self, run: Run) -> int:
        return preparing.count_equal(run, load_run_source(run.pk))

    def must_wait(self, run: Run) -> bool:
        """One run of a field at a time, the earliest first."""
        ai_run = AiRun.objects.filter(pk=run.pk).first()
        if ai_run is None or ai_run.comparison_id is not None:
            return False
        earlier = AiRun.objects.filter(ai_field=ai_run.ai_field_id, pk__lt=run.pk, comparison=None)
        return earlier.filter(run__state__in=[RunState.RUNNING, RunState.FINISHING]).exists()

    def request_of(self, run: Run, row: RunRow) -> CompositeRequest:
        return request_of(run, row.payload or {})

    def store_results(self, found: Sequence[RowResult]) -> None:
        results.store(found)

    def may_watch(self, run: Run, user_id: int) -> bool:
        ai_run = AiRun.objects.filter(pk=run.pk).select_related("table").first()
        user = User.objects.filter(pk=user_id).first()
        return (
            ai_run is not None and user is not None and has_access(user, ai_run.table, Access.READ)
        )

    def announce(self, run: Run, event: str) -> None:
        ai_run = AiRun.objects.filter(pk=run.pk).first()
        if ai_run is not None and not ai_run.is_automatic:
            names = {"table_id": ai_run.table_id, "ai_field_id": ai_run.ai_field_id}
            announcing.create_webhooks(run, event, {**announcing.data_of(run), **names})
