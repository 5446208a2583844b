"""Admin of the audit log (django-auditlog), without the library's reads of the whole table."""

from __future__ import annotations

from auditlog.admin import LogEntryAdmin
from auditlog.models import LogEntry
from django.contrib import admin
from django.db.models import Model, QuerySet
from django.utils.text import Truncator
from django.utils.translation import gettext_lazy as _

from aily.admin.lists import LargeTable, NewestChoices, NewestRelated, users_named

admin.site.unregister(LogEntry)

#: Characters of the list's column of changed fields.
MAX_CHANGES_CHARS = 75


def _labels(model: type[Model]) -> dict[str, str]:
    meta = model._meta  # noqa: SLF001 - documented, for all its name
    return {field.name: str(field.verbose_name) for field in (*meta.fields, *meta.many_to_many)}


@admin.register(LogEntry)
class AuditLogAdmin(LargeTable, LogEntryAdmin):
    """The library's page with a list that does not read the whole log."""

    list_display = ("created", "resource_url", "action", "changed_fields", "user_url")
    date_hierarchy = None
    list_filter = (
        ("action", NewestChoices),
        ("content_type", NewestRelated),
        ("timestamp", admin.DateFieldListFilter),
    )
    search_fields = ("actor__username",)
    search_help_text = _("The beginning of the user's name, or the primary key of a row.")
    ordering = ("-id",)

    @admin.display(description=_("Changes"))
    def changed_fields(self, entry: LogEntry) -> str:
        """Return the names of the fields that changed, in the language of the page."""
        if entry.action in (LogEntry.Action.DELETE, LogEntry.Action.ACCESS):
            return ""
        model = entry.content_type.model_class()
        labels = {} if model is None else _labels(model)
        names = ", ".join(labels.get(name, name) for name in entry.changes_dict)
        return Truncator(names).chars(MAX_CHANGES_CHARS)

    def search(self, queryset: QuerySet[Model], term: str) -> QuerySet[Model]:
        by_actor = queryset.filter(actor__in=users_named(term))
        return by_actor | queryset.filter(object_pk=term)
