"""Admin of providers and models."""

from __future__ import annotations

from django.contrib import admin

from accounts.admin import RolePermissionInline
from chat.admin.pauses import PausedAdmin, close_breakers, lift_pauses
from chat.models import LLMModel, Provider


@admin.register(Provider)
class ProviderAdmin(PausedAdmin):
    pause_kind = "provider"
    actions = (close_breakers,)
    list_display = ("name", "base_url", "api_key_env", "is_enabled", "is_simulated", "paused_for")
    list_filter = ("is_enabled", "is_simulated")
    search_fields = ("name", "base_url")


@admin.register(LLMModel)
class LLMModelAdmin(PausedAdmin):
    pause_kind = "model"
    actions = (lift_pauses,)
    list_display = (
        "name", "provider", "max_concurrency", "input_price", "cached_input_price",
        "output_price", "currency", "is_enabled", "is_default", "is_restricted",
        "paused_for",
    )  # fmt: skip
    list_select_related = ("provider",)
    list_filter = ("provider", "is_enabled", "is_restricted")
    search_fields = ("name", "upstream_name")
    inlines = (RolePermissionInline,)
