"""Admin of conversations: to look at, not to change what people said."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.db.models.functions import Left
from django.http import HttpRequest

from aily.admin.lists import LargeTable, users_named
from chat.admin.readonly import ReadOnlyAdmin, ReadOnlyInline
from chat.models import Conversation, Message

#: Of each message.
_SHOWN_CHARS = 2_000
_LARGE = ("content", "parts", "reasoning", "tool_calls")


class MessageInline(ReadOnlyInline):
    model = Message
    fields = ("role", "beginning", "task_id", "created_at")
    readonly_fields = fields

    @admin.display(description="content")
    def beginning(self, message: Message) -> str:
        content: str = vars(message)["content_beginning"]
        return content if len(content) < _SHOWN_CHARS else f"{content} …"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Message]:
        """With the beginnings of what may be megabytes, thousands of times."""
        rows: QuerySet[Message] = super().get_queryset(request)
        beginning = Left("content", _SHOWN_CHARS)
        return rows.defer(*_LARGE).annotate(content_beginning=beginning)


@admin.register(Conversation)
class ConversationAdmin(LargeTable, ReadOnlyAdmin):
    list_display = ("__str__", "owner", "created_at", "updated_at")
    list_select_related = ("owner",)
    search_fields = ("owner__username",)
    search_help_text = "The beginning of the owner's name."
    # By the primary key, whose values begin with the time.
    ordering = ("-id",)
    inlines = (MessageInline,)

    def search(self, queryset: QuerySet[Any], term: str) -> QuerySet[Any]:
        return queryset.filter(owner__in=users_named(term))
