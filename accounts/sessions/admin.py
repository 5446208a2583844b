"""Admin of the audit trail of log-ins: who, when, from where, and how it ended."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from accounts.models import LoginEvent
from aily.admin.lists import LargeTable, NewestChoices, users_named


@admin.register(LoginEvent)
class LoginEventAdmin(LargeTable, admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = (
        "last_at", "shown_name", "outcome", "method", "address", "count", "user_agent"
    )  # fmt: skip
    list_filter = (("outcome", NewestChoices), ("method", NewestChoices))
    search_fields = ("username",)
    search_help_text = "The beginning of a user name, or an address."
    ordering = ("-id",)
    readonly_fields = fields = (
        "username", "user", "outcome", "method", "address", "user_agent", "count", "first_at",
        "last_at",
    )  # fmt: skip

    @admin.display(description="user name")
    def shown_name(self, event: LoginEvent) -> str:
        return event.username or "(no such account)"

    def search(self, queryset: QuerySet[Any], term: str) -> QuerySet[Any]:
        return queryset.filter(user__in=users_named(term)) | from_address(queryset, term)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


def from_address(queryset: QuerySet[Any], address: str) -> QuerySet[Any]:
    """Events from an address; none where it is not one."""
    return queryset.filter(address=address) if _is_address(address) else queryset.none()


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
