"""Admin of conversations, read-only."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import Model, QuerySet
from django.db.models.functions import Left
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from aily.admin.lists import LargeTable, users_named
from chat.admin.readonly import ReadOnlyAdmin, ReadOnlyInline
from chat.models import Conversation, Message

#: Characters of each message that are shown.
_SHOWN_CHARS = 2_000
_LARGE = ("content", "parts", "reasoning", "tool_calls")


class MessageInline(ReadOnlyInline):
    model = Message
    fields = ("role", "beginning", "task_id", "created_at")
    readonly_fields = fields

    @admin.display(description=_("content"))
    def beginning(self, message: Message) -> str:
        content: str = vars(message)["content_beginning"]
        return content if len(content) < _SHOWN_CHARS else f"{content} …"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Message]:
        """Read the beginning of each message only: thousands of them may have megabytes each."""
        rows: QuerySet[Message] = super().get_queryset(request)
        beginning = Left("content", _SHOWN_CHARS)
        return rows.defer(*_LARGE).annotate(content_beginning=beginning)


@admin.register(Conversation)
class ConversationAdmin(LargeTable, ReadOnlyAdmin):
    list_display = ("__str__", "owner", "created_at", "updated_at")
    list_select_related = ("owner",)
    search_fields = ("owner__username",)
    search_help_text = _("The beginning of the owner's name.")
    # The primary key begins with the time.
    ordering = ("-id",)
    inlines = (MessageInline,)

    def search(self, queryset: QuerySet[Model], term: str) -> QuerySet[Model]:
        return queryset.filter(owner__in=users_named(term))
