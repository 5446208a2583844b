"""Admin of the catalogue of tables: whose they are, how large, and what was done to them."""

from __future__ import annotations

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from aily.admin.lists import LargeTable, NewestChoices, users_named
from aily.problems import Problem
from chat.admin.problems import translated
from chat.admin.readonly import ReadOnlyAdmin, ReadOnlyInline
from chat.error_texts import error_text
from chat.tables.models import AiField, Change, Export, Field, Import, Table, View
from chat.tables.models.transfers import Transfer
from chat.tables.tables import delete_table, restore_table


class FieldInline(ReadOnlyInline):
    model = Field
    fields = ("name", "kind", "column", "ai_field", "deleted_at")
    readonly_fields = fields
    verbose_name_plural = _("fields")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Field]:
        return super().get_queryset(request).select_related("ai_field")


class _OfTable(LargeTable, ReadOnlyAdmin):
    """Rows of the catalogue that belong to a table, searched by its owner."""

    list_select_related = ("table", "table__owner")
    search_fields = ("table__owner__username",)
    ordering = ("-id",)

    def search(self, queryset: QuerySet[Change], term: str) -> QuerySet[Change]:  # type: ignore[override]
        return queryset.filter(table__owner__in=users_named(term))


@admin.register(Table)
class TableAdmin(LargeTable, ReadOnlyAdmin):
    list_display = (
        "name", "owner", "row_count", "rev", "schema_rev", "created_at", "deleted_at",
    )  # fmt: skip
    list_select_related = ("owner",)
    search_fields = ("owner__username",)
    ordering = ("-id",)
    inlines = (FieldInline,)
    actions = ("move_to_trash", "take_from_trash")

    def has_operate_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("tables.delete_table")

    def search(self, queryset: QuerySet[Table], term: str) -> QuerySet[Table]:  # type: ignore[override]
        return queryset.filter(owner__in=users_named(term))

    @admin.action(description=_("Move selected tables to the trash"), permissions=["operate"])
    def move_to_trash(self, request: HttpRequest, queryset: QuerySet[Table]) -> None:
        for table in queryset.filter(deleted_at=None):
            try:
                delete_table(table)
            except Problem as problem:
                messages.warning(request, f"{table}: {translated(problem)}")

    @admin.action(description=_("Take selected tables out of the trash"), permissions=["operate"])
    def take_from_trash(self, request: HttpRequest, queryset: QuerySet[Table]) -> None:
        for table in queryset:
            restore_table(table)


@admin.register(Change)
class ChangeAdmin(_OfTable):
    list_display = ("table", "rev", "kind", "user", "rows", "created_at", "undone_at")
    list_filter = (("kind", NewestChoices),)
    exclude = ("inverse",)


@admin.register(Import)
class ImportAdmin(_OfTable):
    list_display = ("table", "owner", "format", "mode", "state", "done", "total", "created_at")
    list_filter = (("state", NewestChoices),)
    exclude = ("lease", "lease_until", "report", "message", "reason_params")
    readonly_fields = ("explanation",)

    @admin.display(description=_("message"))
    def explanation(self, job: Import) -> str:
        return _why(job)


@admin.register(Export)
class ExportAdmin(_OfTable):
    list_display = ("table", "owner", "format", "state", "done", "total", "created_at")
    list_filter = (("state", NewestChoices),)
    exclude = ("lease", "lease_until", "message", "reason_params")
    readonly_fields = ("explanation",)

    @admin.display(description=_("message"))
    def explanation(self, job: Export) -> str:
        return _why(job)


def _why(job: Transfer) -> str:
    return str(error_text(job.reason, job.message, job.reason_params, has_detail=True))


@admin.register(View)
class ViewAdmin(_OfTable):
    list_display = ("name", "table", "owner", "is_shared", "updated_at")


@admin.register(AiField)
class AiFieldAdmin(_OfTable):
    list_display = ("name", "table", "scene", "scene_version", "policy", "owner", "updated_at")
    exclude = ("policy_note", "policy_reason")
    readonly_fields = ("note",)

    @admin.display(description=_("policy note"))
    def note(self, ai_field: AiField) -> str:
        reason = ai_field.policy_reason or {}
        code, params = str(reason.get("code", "")), reason.get("params")
        return str(error_text(code, ai_field.policy_note, params, has_detail=True))
