"""Admin of users and their API keys. Secrets are shown once, digests never."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin
from django.db.models import QuerySet
from django.forms import ModelForm
from django.http import HttpRequest

from accounts.models import APIKey, RoleLimits, User

LIMITS = ("requests_per_minute", "max_tasks_in_flight", "max_tasks_queued")


@admin.register(User)
class AilyUserAdmin(UserAdmin):  # type: ignore[type-arg]
    fieldsets = (*(UserAdmin.fieldsets or ()), ("Queue", {"fields": ("queue_weight", *LIMITS)}))


@admin.register(RoleLimits)
class RoleLimitsAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ("role", *LIMITS)
    list_select_related = ("role",)
    autocomplete_fields = ("role",)


@admin.register(APIKey)
class APIKeyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = (
        "prefix", "name", "owner", "created_at", "last_used_at", "expires_at", "revoked_at"
    )  # fmt: skip
    list_select_related = ("owner",)
    list_filter = ("revoked_at", "last_used_at")
    search_fields = ("prefix", "name", "owner__username")
    autocomplete_fields = ("owner",)
    readonly_fields = ("prefix", "created_at", "last_used_at", "revoked_at")
    fields = ("owner", "name", "expires_at", "requests_per_minute", *readonly_fields)
    actions = ("revoke",)

    def get_readonly_fields(
        self, request: HttpRequest, obj: APIKey | None = None
    ) -> tuple[str, ...]:
        return self.readonly_fields if obj is None else ("owner", *self.readonly_fields)

    def save_model(
        self, request: HttpRequest, obj: APIKey, form: ModelForm[APIKey], change: bool
    ) -> None:
        if change:
            super().save_model(request, obj, form, change)
            return
        secret = obj.issue()
        messages.warning(request, f"Copy this key now, it is not shown again: {secret}")

    @admin.action(description="Revoke selected API keys", permissions=["change"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[APIKey]) -> None:
        revoked = APIKey.objects.filter(pk__in=queryset).revoke()
        messages.success(request, f"Revoked {revoked} key(s).")

    def get_queryset(self, request: HttpRequest) -> QuerySet[APIKey]:
        return super().get_queryset(request).defer("digest")

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"owner": request.user.pk, **super().get_changeform_initial_data(request)}
