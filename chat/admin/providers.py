"""Admin of providers and models."""

from __future__ import annotations

from django.contrib import admin

from accounts.admin import RolePermissionInline
from chat.models import LLMModel, Provider


@admin.register(Provider)
class ProviderAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ("name", "base_url", "api_key_env", "is_enabled", "is_simulated")
    list_filter = ("is_enabled", "is_simulated")
    search_fields = ("name", "base_url")


@admin.register(LLMModel)
class LLMModelAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = (
        "name", "provider", "max_concurrency", "input_price", "cached_input_price",
        "output_price", "currency", "is_enabled", "is_default", "is_restricted",
    )  # fmt: skip
    list_select_related = ("provider",)
    list_filter = ("provider", "is_enabled", "is_restricted")
    search_fields = ("name", "upstream_name")
    inlines = (RolePermissionInline,)
