"""Admin of providers and models. Secrets are typed in and never shown."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.utils.text import format_lazy
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.admin import RolePermissionInline
from accounts.models import User
from aily.admin.deletion import KeptWhileUsed
from aily.problems import Forbidden
from aily.redis.errors import RedisUnavailable
from chat import scheduler
from chat.admin.addresses import AddressesAdmin
from chat.admin.pauses import (
    PausedAdmin,
    close_breakers,
    lift_deployments,
    lift_pauses,
    pause_rows,
)
from chat.error_texts import error_text
from chat.models import Deployment, LLMModel, Provider
from chat.services import providers
from chat.services.parameters import parameter_errors
from chat.services.providers import Addresses

KEEP = _("Write-only. Leave empty to keep what is stored.")
_Lines = forms.Textarea(attrs={"rows": 3, "cols": 80, "autocomplete": "off", "spellcheck": "false"})


#: `cleaned_data` of a form.
_Cleaned = dict[str, Any]


class ProviderForm(forms.ModelForm):  # type: ignore[type-arg]
    """`actor` and `addresses` (of the URLs in the form) are set by the admin."""

    actor: User
    addresses: Addresses
    # Written by the inputs of secrets, which show nothing.
    guarded_columns = ("secrets_changed_at",)

    # Not the name of the column, which Django would set from any user's form.
    only_public = forms.BooleanField(
        required=False,
        label=_("Public addresses only"),
        help_text=_(
            "Calls go to addresses of the public internet only. A superuser may change this; "
            "it is set when another user changes an address."
        ),
    )
    api_keys = forms.CharField(
        required=False, widget=_Lines, label=_("API keys"),
        help_text=format_lazy("{} {}", KEEP, _("One a line: calls take turns between them.")),
    )  # fmt: skip
    remove_api_keys = forms.BooleanField(required=False, label=_("Remove the stored keys"))
    extra_headers = forms.CharField(
        required=False, widget=_Lines, label=_("Extra headers"),
        help_text=format_lazy("{} {}", KEEP, _(
            "One a line, as in HTTP-Referer: https://example.com. A name without a value removes "
            "that header."
        )),
    )  # fmt: skip
    proxy_credentials = forms.CharField(
        required=False,
        label=_("Proxy credentials"),
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text=format_lazy("{} {}", KEEP, _("As in user:password.")),
    )
    remove_proxy_credentials = forms.BooleanField(
        required=False, label=_("Remove the stored credentials")
    )

    class Meta:
        model = Provider
        fields = (
            "name", "base_url", "is_enabled", "is_simulated", "api_key_env", "key_header",
            "request_fields", "structured_output", "connect_seconds", "first_token_seconds",
            "between_tokens_seconds", "total_seconds", "proxy_url", "ca_bundle",
        )  # fmt: skip

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not self.actor.is_superuser:
            self.fields["only_public"].disabled = True
        self.fields["only_public"].initial = self.instance.public_only

    def clean_extra_headers(self) -> dict[str, str | None]:
        headers: dict[str, str | None] = {}
        for line in self.cleaned_data["extra_headers"].splitlines():
            name, colon, value = line.partition(":")
            if line.strip() and not colon:
                raise ValidationError(gettext("A header is written as Name: value."))
            if line.strip():
                headers[name.strip()] = value.strip() or None
        return headers

    def clean_request_fields(self) -> object:
        return self.cleaned_data["request_fields"] or {}

    def clean(self) -> _Cleaned:
        cleaned: _Cleaned = super().clean() or self.cleaned_data
        if self.errors:
            return cleaned
        changed_addresses = {"base_url", "proxy_url", "only_public"} & {*self.changed_data}
        try:
            providers.assign(self.instance, self._fields(cleaned), self.actor)
            if changed_addresses:
                providers.check_addresses(self.instance, self.addresses)
        except ValidationError as error:
            self.add_error(None, error)
        except Forbidden as error:
            self.add_error("only_public", error.message)
        return cleaned

    def _fields(self, cleaned: _Cleaned) -> _Cleaned:
        """The fields to change; secrets that stay are left out."""
        fields = {name: cleaned[name] for name in ProviderForm.Meta.fields}
        if self.actor.is_superuser:
            fields["public_only"] = cleaned["only_public"]
        for name in ("api_keys", "proxy_credentials"):
            if cleaned[name] or cleaned[f"remove_{name}"]:
                fields[name] = cleaned[name]
        if "api_keys" in fields:
            fields["api_keys"] = fields["api_keys"].splitlines()
        if cleaned["extra_headers"]:
            fields["extra_headers"] = cleaned["extra_headers"]
        return fields


@admin.register(Provider)
class ProviderAdmin(AddressesAdmin, PausedAdmin):
    address_fields = ("base_url", "proxy_url")
    pause_kind = "provider"
    actions = (pause_rows, close_breakers)
    form = ProviderForm
    list_display = (
        "name", "base_url", "api_key_env", "stored_keys", "is_enabled", "is_simulated",
        "public_only", "paused_for",
    )  # fmt: skip
    list_filter = ("is_enabled", "is_simulated", "public_only")
    search_fields = ("name", "base_url")
    readonly_fields = ("stored_keys", "stored_headers", "secrets_changed_at")
    fieldsets = (
        (None, {"fields": ("name", "base_url", "is_enabled", "is_simulated", "only_public")}),
        (
            _("Keys and headers"),
            {
                "fields": (
                    "api_key_env", "stored_keys", "api_keys", "remove_api_keys", "key_header",
                    "stored_headers", "extra_headers", "secrets_changed_at",
                )
            },
        ),
        (
            _("Requests"),
            {
                "classes": ("collapse",),
                "fields": (
                    "request_fields", "structured_output", "connect_seconds", "first_token_seconds",
                    "between_tokens_seconds", "total_seconds",
                ),
            },
        ),
        (
            _("Network"),
            {
                "classes": ("collapse",),
                "fields": (
                    "proxy_url", "proxy_credentials", "remove_proxy_credentials", "ca_bundle",
                ),
            },
        ),
    )  # fmt: skip

    @admin.display(description=_("stored keys"))
    def stored_keys(self, provider: Provider) -> str:
        return provider.key_hint if provider.has_api_key else gettext("none")

    @admin.display(description=_("stored headers"))
    def stored_headers(self, provider: Provider) -> str:
        return ", ".join(provider.header_names) or gettext("none")


class DeploymentForm(forms.ModelForm):  # type: ignore[type-arg]
    def clean_weight(self) -> int:
        weight: int | None = self.cleaned_data["weight"]
        return 1 if weight is None else weight


class LLMModelForm(DeploymentForm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "capability" in self.fields:
            # A form that lacks it means the default.
            self.fields["capability"].required = False

    def clean_params(self) -> dict[str, object]:
        params = self.cleaned_data["params"]
        if not isinstance(params, dict):
            raise ValidationError(gettext("This must be a JSON object."))
        if errors := parameter_errors(params):
            raise ValidationError(
                [f"{name}: {error_text('', message, rule)}" for name, message, rule in errors]
            )
        return params


#: How a deployment is called.
_CALLED = (
    "upstream_name", "max_concurrency", "requests_per_minute", "tokens_per_minute", "weight",
)  # fmt: skip


@admin.register(LLMModel)
class LLMModelAdmin(KeptWhileUsed, PausedAdmin):
    pause_kind = "model"
    actions = (pause_rows, lift_pauses)
    form = LLMModelForm
    list_display = (
        "name", "provider", "capability", "max_concurrency", "input_price", "cached_input_price",
        "output_price", "currency", "is_enabled", "is_default", "is_restricted",
        "paused_for",
    )  # fmt: skip
    list_select_related = ("provider",)
    list_filter = ("provider", "capability", "is_enabled", "is_restricted")
    search_fields = ("name", "upstream_name")
    fieldsets = (
        (None, {"fields": ("name", "capability", "is_enabled", "is_default", "is_restricted")}),
        (_("Its own deployment"), {"fields": ("provider", *_CALLED)}),
        (_("Requests"), {"fields": ("params", "structured_output", "default_max_tokens")}),
        (
            _("Prices"),
            {"fields": ("input_price", "cached_input_price", "output_price", "currency")},
        ),
    )
    inlines = (RolePermissionInline,)


@admin.register(Deployment)
class DeploymentAdmin(PausedAdmin):
    """Further deployments, for those who may see or change their models."""

    pause_kind = "deployment"
    actions = (pause_rows, lift_deployments)
    form = DeploymentForm
    list_display = (
        "name", "model", "provider", "max_concurrency", "requests_per_minute",
        "tokens_per_minute", "weight", "slots", "paused_for",
    )  # fmt: skip
    list_select_related = ("model__provider", "provider")
    list_filter = ("model", "provider")
    search_fields = ("name", "model__name", "upstream_name")
    fieldsets = (
        (None, {"fields": ("model", "name", "provider", *_CALLED)}),
        (_("Prices"), {"fields": ("input_price", "cached_input_price", "output_price")}),
    )

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        changes = super().get_changelist_instance(request)
        rows = list(changes.result_list)
        try:
            loads = scheduler.deployment_loads([row.key for row in rows])
        except RedisUnavailable:
            loads = {}
        for row in rows:
            row.slots_in_use = loads[row.key].in_use if row.key in loads else None
        changes.result_list = rows
        return changes

    @admin.display(description=_("slots in use"))
    def slots(self, deployment: Deployment) -> int | None:
        used: int | None = vars(deployment).get("slots_in_use")
        return used

    def get_readonly_fields(
        self, request: HttpRequest, obj: Deployment | None = None
    ) -> tuple[str, ...]:
        # State in Redis and tasks belong to a deployment of one model.
        return ("model",) if obj else ()

    def has_view_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return request.user.has_perm("chat.view_llmmodel") or self.has_change_permission(request)

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return request.user.has_perm("chat.change_llmmodel")

    has_add_permission = has_delete_permission = has_change_permission

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)
