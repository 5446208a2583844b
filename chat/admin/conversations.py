"""Admin of conversations: to look at, not to change what people said."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from aily.admin import CappedPaginator, users_named
from chat.admin.readonly import ReadOnlyAdmin
from chat.models import Conversation, Message


class MessageInline(admin.TabularInline):  # type: ignore[type-arg]
    model = Message
    fields = ("role", "content", "task_id", "created_at")
    readonly_fields = fields
    can_delete = False
    extra = 0

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Conversation)
class ConversationAdmin(ReadOnlyAdmin):
    list_display = ("__str__", "owner", "created_at", "updated_at")
    list_select_related = ("owner",)
    search_fields = ("owner__username",)  # get_search_results does the searching
    search_help_text = "The beginning of the owner's name."
    # By the primary key, whose values begin with the time.
    ordering = ("-id",)
    sortable_by = ()
    paginator = CappedPaginator
    show_full_result_count = False
    inlines = (MessageInline,)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        return (queryset.filter(owner__in=users_named(term)) if term else queryset), False
