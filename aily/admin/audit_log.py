"""Admin of the audit log (django-auditlog), without the library's reads of the whole table."""

from __future__ import annotations

from auditlog.admin import LogEntryAdmin
from auditlog.models import LogEntry
from django.contrib import admin
from django.db.models import Model, QuerySet

from aily.admin.lists import LargeTable, NewestChoices, NewestRelated, users_named

admin.site.unregister(LogEntry)


@admin.register(LogEntry)
class AuditLogAdmin(LargeTable, LogEntryAdmin):
    """The library's page with a list that does not read the whole log."""

    date_hierarchy = None
    list_filter = (
        ("action", NewestChoices),
        ("content_type", NewestRelated),
        ("timestamp", admin.DateFieldListFilter),
    )
    search_fields = ("actor__username",)
    search_help_text = "The beginning of the name of who did it, or the primary key of a row."
    ordering = ("-id",)

    def search(self, queryset: QuerySet[Model], term: str) -> QuerySet[Model]:
        by_actor = queryset.filter(actor__in=users_named(term))
        return by_actor | queryset.filter(object_pk=term)
