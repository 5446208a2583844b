"""Admin of runs: owner, progress, and actions to pause, resume and cancel."""

from __future__ import annotations

from collections.abc import Callable

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from aily.admin.lists import LargeTable
from aily.problems import Problem
from chat.admin.problems import translated
from chat.admin.readonly import ReadOnlyAdmin
from chat.error_texts import error_text
from chat.models import Run
from chat.runs import control
from chat.runs.actors import ring_feeder

#: Runs that one action takes: each may withdraw thousands of tasks.
MAX_RUNS = 20


@admin.register(Run)
class RunAdmin(LargeTable, ReadOnlyAdmin):
    list_display = (
        "name", "owner", "state", "reason", "scene", "done_of_total", "failed", "cost", "currency",
        "created_at", "ended_at",
    )  # fmt: skip
    list_select_related = ("owner",)
    list_filter = ("state",)
    search_fields = ("owner__username",)
    ordering = ("-id",)
    exclude = (
        "idempotency_key", "request_digest", "fed_by", "fed_until", "checked_at", "message",
        "reason_params",
    )  # fmt: skip
    readonly_fields = ("explanation",)
    actions = ("pause_runs", "resume_runs", "cancel_runs")

    def has_operate_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("chat.change_run")

    @admin.display(description=_("rows done"))
    def done_of_total(self, run: Run) -> str:
        return f"{run.ended_rows:,} / {run.total:,}"

    @admin.display(description=_("message"))
    def explanation(self, run: Run) -> str:
        return str(error_text(run.reason, run.message, run.reason_params, has_detail=True))

    def search(self, queryset: QuerySet[Run], term: str) -> QuerySet[Run]:  # type: ignore[override]
        return queryset.filter(owner__username__istartswith=term)

    @admin.action(description=_("Pause selected runs"), permissions=["operate"])
    def pause_runs(self, request: HttpRequest, queryset: QuerySet[Run]) -> None:
        self._each(request, queryset, lambda run: control.pause(run, "staff"))

    @admin.action(description=_("Resume selected runs"), permissions=["operate"])
    def resume_runs(self, request: HttpRequest, queryset: QuerySet[Run]) -> None:
        self._each(request, queryset, control.resume)

    @admin.action(description=_("Cancel selected runs"), permissions=["operate"])
    def cancel_runs(self, request: HttpRequest, queryset: QuerySet[Run]) -> None:
        self._each(request, queryset, control.cancel)

    def _each(
        self, request: HttpRequest, queryset: QuerySet[Run], act: Callable[[Run], object]
    ) -> None:
        """Act on each run, with a message for each that could not be changed."""
        changed = 0
        for run in queryset[:MAX_RUNS]:
            before = run.state
            try:
                act(run)
            except Problem as problem:
                # The warning below names a state that does not allow it.
                if problem.field != "state":
                    messages.warning(request, f"{run}: {translated(problem)}")
                    continue
            if run.state == before:
                text = gettext("%(run)s: nothing changed, it is %(state)s.")
                messages.warning(request, text % {"run": run, "state": run.get_state_display()})
            else:
                changed += 1
        ring_feeder()
        text = ngettext("Changed %(count)d run.", "Changed %(count)d runs.", changed)
        messages.success(request, text % {"count": changed})
