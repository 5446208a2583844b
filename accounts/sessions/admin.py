"""Admin of the audit trail of login attempts."""

from __future__ import annotations

from ipaddress import ip_address

from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.models import LoginEvent
from aily.admin.lists import LargeTable, NewestChoices, users_named


@admin.register(LoginEvent)
class LoginEventAdmin(LargeTable, admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = (
        "last_at", "shown_name", "outcome", "method", "address", "count", "user_agent"
    )  # fmt: skip
    list_filter = (("outcome", NewestChoices), ("method", NewestChoices))
    search_fields = ("username",)
    search_help_text = _("The beginning of a user name, or an address.")
    ordering = ("-id",)
    readonly_fields = fields = (
        "username", "user", "outcome", "method", "address", "user_agent", "count", "first_at",
        "last_at",
    )  # fmt: skip

    @admin.display(description=_("user name"))
    def shown_name(self, event: LoginEvent) -> str:
        return event.username or gettext("(no such account)")

    def search(self, queryset: QuerySet[Model], term: str) -> QuerySet[Model]:
        return queryset.filter(user__in=users_named(term)) | from_address(queryset, term)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False


def from_address(queryset: QuerySet[Model], address: str) -> QuerySet[Model]:
    """Return the events from an address; none if the text is no address."""
    return queryset.filter(address=address) if _is_address(address) else queryset.none()


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
