"""Admin of tasks and workers. There are millions of tasks: nothing here counts or scans them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.db.models import Model, Q, QuerySet
from django.db.models.fields.json import KT
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from aily.admin.lists import (
    MAX_ROWS,
    FewRelated,
    LargeTable,
    NewestChoices,
    NewestRelated,
    newest,
    users_named,
)
from chat.admin.readonly import ReadOnlyAdmin
from chat.admin.task_actions import TaskActions
from chat.admin.task_page import page_of
from chat.models import Status, Task, TaskKind, Worker
from chat.models.ids import first_id
from chat.services.cancel import cancel_many
from chat.services.retry import retry_many

#: Large columns that no list shows.
_LARGE = (
    *("messages", "params", "response_format", "metadata", "text", "reasoning", "tool_calls"),
    *("repair", "usage", "error", "logprobs"),
)


class TaskChangeList(ChangeList):
    def get_queryset(
        self, request: HttpRequest, exclude_parameters: list[str | None] | None = None
    ) -> QuerySet[Model]:
        tasks = super().get_queryset(request, exclude_parameters).defer(*_LARGE)
        with_code: QuerySet[Model] = tasks.annotate(error_code=KT("error__code"))
        return with_code


class CreatedFilter(admin.SimpleListFilter):
    """Filters by age, through the index of the primary key: a UUIDv7 begins with the time."""

    title = _("created")
    parameter_name = "created"
    _spans = {
        "hour": (1, _("In the last hour")),
        "day": (24, _("In the last day")),
        "week": (24 * 7, _("In the last week")),
        "month": (24 * 30, _("In the last month")),
    }

    def lookups(
        self, request: HttpRequest, model_admin: admin.ModelAdmin[Model]
    ) -> list[tuple[str, str]]:
        return [(name, str(label)) for name, (_hours, label) in self._spans.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Task]) -> QuerySet[Task]:
        span = self._spans.get(self.value() or "")
        if span is None:
            return queryset
        hours, _label = span
        since = timezone.now() - timedelta(hours=hours)
        return queryset.filter(pk__gte=first_id(since))


#: Of the newest failed tasks, those whose error codes are offered as filters.
_CODES_READ = 1_000


class ErrorFilter(admin.SimpleListFilter):
    """Filters failed tasks by the code of their error, through the index of unanswered tasks."""

    title = _("error")
    parameter_name = "error"

    def lookups(
        self, request: HttpRequest, model_admin: admin.ModelAdmin[Model]
    ) -> list[tuple[str, str]]:
        failed = Task.objects.filter(status=Status.FAILED).order_by("-id")
        codes = set(failed.values_list(KT("error__code"), flat=True)[:_CODES_READ])
        chosen = self.used_parameters.get(self.parameter_name)
        if chosen is not None:
            codes.add(chosen)
        return [(code, code) for code in sorted(code for code in codes if code)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Task]) -> QuerySet[Task]:
        code = self.value()
        if code is None:
            return queryset
        return newest(queryset.filter(status=Status.FAILED, error__code=code))


def _id_range(prefix: str) -> Q | None:
    """Ids that begin with `prefix`, as a range of the index. None: it is no prefix of an id."""
    digits = prefix.replace("-", "").lower()
    if not 4 <= len(digits) <= 32 or set(digits) - set("0123456789abcdef"):
        return None
    return Q(pk__gte=UUID(digits.ljust(32, "0")), pk__lte=UUID(digits.ljust(32, "f")))


@admin.register(Task)
class TaskAdmin(TaskActions, LargeTable, ReadOnlyAdmin):
    list_display = (
        "short_id", "created_at", "status", "error_code", "owner", "scene", "model", "lane",
        "attempt", "duration",
    )  # fmt: skip
    list_select_related = ("owner", "scene", "model")
    list_filter = (
        "status",
        ("kind", NewestChoices),
        ErrorFilter,
        ("lane", NewestChoices),
        ("served_from", NewestChoices),
        ("scene", FewRelated),
        ("model", NewestRelated),
        CreatedFilter,
    )
    list_per_page = 50
    search_fields = ("pk",)
    search_help_text = _("The beginning of an id or of the owner's name.")
    ordering = ("-id",)
    actions = ("cancel", "retry")
    # The prompt, the answer and the times are shown by the page's own template.
    fieldsets = (
        (None, {"fields": (
            "id", "kind", "owner", "api_key", "scene", "scene_version", "conversation", "model",
            "status", "lane", "served_from",
        )}),
        (_("Attempts"), {"fields": (
            "attempt", "failures", "crashes", "fallbacks", "worker", "not_before", "deadline_at",
            "deployment", "upstream_request_id", "finish_reason",
        )}),
        (_("Request"), {"classes": ("collapse",), "fields": (
            "parameters", "metadata", "usage", "idempotency_key", "weight", "flight_key", "leader",
            "last_event", "history_from", "settled",
        )}),
    )  # fmt: skip

    @admin.display(description=_("id"))
    def short_id(self, task: Task) -> str:
        return str(task.pk)[:18]

    @admin.display(description=_("error"))
    def error_code(self, task: Task) -> str:
        code: str | None = vars(task)["error_code"]
        return code or ""

    @admin.display(description=_("params"))
    def parameters(self, task: Task) -> str:
        """Return the parameters as JSON; the input of embeddings is shown above them."""
        hidden = {"input"} if task.kind == TaskKind.EMBEDDINGS else set()
        shown = {name: value for name, value in task.params.items() if name not in hidden}
        return json.dumps(shown, ensure_ascii=False)

    @admin.display(description=_("settled"))
    def settled(self, task: Task) -> str:
        """Return a word: that a task is not settled yet is neither good nor bad."""
        return gettext("no") if task.needs_settling else gettext("yes")

    @admin.display(description=_("duration"))
    def duration(self, task: Task) -> str:
        if task.started_at is None or task.finished_at is None:
            return "-"
        return f"{(task.finished_at - task.started_at).total_seconds():.2f} s"

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Task | None = None,
    ) -> HttpResponse:
        """Show the task with its time line, prompt and answer."""
        if obj is not None:
            context["page"] = page_of(obj)
            context["may_operate"] = self.has_operate_permission(request)
        return super().render_change_form(request, context, add, change, form_url, obj)

    def get_changelist(self, request: HttpRequest, **kwargs: object) -> type[ChangeList]:
        return TaskChangeList

    def get_queryset(self, request: HttpRequest) -> QuerySet[Task]:
        related = ("owner", "scene", "scene_version__scene", "conversation", "model", "worker")
        tasks: QuerySet[Task] = super().get_queryset(request)
        return tasks.select_related(*related)

    def search(self, queryset: QuerySet[Model], term: str) -> QuerySet[Model]:
        found = Q(owner_id__in=users_named(term))
        by_id = _id_range(term)
        return queryset.filter(found if by_id is None else found | by_id)

    def has_operate_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("chat.change_task")

    @admin.action(description=_("Cancel selected tasks"), permissions=["operate"])
    def cancel(self, request: HttpRequest, queryset: QuerySet[Task]) -> None:
        cancelled = cancel_many(_ids(queryset))
        text = ngettext("Cancelled %(count)d task.", "Cancelled %(count)d tasks.", cancelled)
        messages.success(request, text % {"count": cancelled})

    @admin.action(description=_("Retry selected tasks, as new ones"), permissions=["operate"])
    def retry(self, request: HttpRequest, queryset: QuerySet[Task]) -> None:
        made = retry_many(_ids(queryset))
        text = ngettext("Submitted %(count)d new task.", "Submitted %(count)d new tasks.", made)
        messages.success(request, text % {"count": made})


def _ids(queryset: QuerySet[Task]) -> Sequence[UUID]:
    return list(queryset.values_list("pk", flat=True)[:MAX_ROWS])


@admin.register(Worker)
class WorkerAdmin(ReadOnlyAdmin):
    list_display = ("id", "hostname", "pid", "started_at", "lease_until", "is_dead")
    list_filter = ("is_dead",)
