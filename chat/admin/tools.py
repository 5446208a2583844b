"""Admin of tool servers and tools. Secrets are typed in and never shown."""

from __future__ import annotations

import asyncio
import json
from difflib import unified_diff
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.admin import RolePermissionInline
from accounts.models import User
from aily.database.threads import release_connections
from aily.problems import Forbidden, Problem
from chat.admin.addresses import AddressesAdmin
from chat.admin.problems import shown, shown_sentence, translated
from chat.admin.providers import KEEP
from chat.admin.readonly import ReadOnlyInline
from chat.models import Tool, ToolServer, ToolServerKind
from chat.services import tool_servers
from chat.services.providers import Addresses
from chat.tools import listing
from chat.tools.openapi_documents import read_document
from chat.tools.openapi_operations import DocumentError, Operation, operations_of
from chat.tools.results import ToolFault

#: Servers whose tools one action lists, one after the other.
MAX_LISTED = 10
#: Characters of an OpenAPI document that is pasted.
_MAX_DOCUMENT_CHARS = 2_000_000
#: `cleaned_data` of a form.
_Cleaned = dict[str, Any]


class ToolServerForm(forms.ModelForm):  # type: ignore[type-arg]
    """`actor` and `addresses` (of the URLs in the form) are set by the admin."""

    actor: User
    addresses: Addresses
    # Written by the input of the secret, which shows nothing.
    guarded_columns = ("secret_changed_at",)

    # Not the name of the column, which Django would set from any user's form.
    only_public = forms.BooleanField(
        required=False,
        label=_("Public addresses only"),
        help_text=_(
            "Calls go to addresses of the public internet only. A superuser may change this; "
            "it is set when another user changes an address."
        ),
    )
    secret = forms.CharField(
        required=False,
        label=_("Secret"),
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text=KEEP,
    )
    remove_secret = forms.BooleanField(required=False, label=_("Remove the stored secret"))
    openapi_document = forms.CharField(
        required=False,
        max_length=_MAX_DOCUMENT_CHARS,
        label=_("OpenAPI document"),
        widget=forms.Textarea(attrs={"rows": 5, "cols": 80, "spellcheck": "false"}),
        help_text=_("JSON or YAML. Disabled tools are made of its operations; it is not stored."),
    )
    openapi_operations = forms.CharField(
        required=False,
        label=_("Operations"),
        widget=forms.Textarea(attrs={"rows": 3, "cols": 80, "spellcheck": "false"}),
        help_text=_("One a line: an operationId, or method and path. Empty: all that can be used."),
    )

    class Meta:
        model = ToolServer
        fields = (
            "name", "kind", "url", "is_enabled", "auth", "key_header", "oauth_token_url",
            "oauth_client_id", "oauth_scope", "oauth_resource", "timeout_seconds",
            "max_concurrent_calls", "max_result_bytes", "list_ttl_seconds",
        )  # fmt: skip

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.operations: list[Operation] = []
        if "only_public" in self.fields:
            self.fields["only_public"].disabled = not self.actor.is_superuser
            self.fields["only_public"].initial = self.instance.public_only

    def clean_openapi_document(self) -> str:
        text: str = self.cleaned_data["openapi_document"]
        if not text.strip():
            return ""
        try:
            self.operations = operations_of(read_document(text.encode()))
        except DocumentError as error:
            raise ValidationError(shown(error.reason)) from None
        return text

    def clean(self) -> _Cleaned:
        cleaned: _Cleaned = super().clean() or self.cleaned_data
        if self.errors:
            return cleaned
        try:
            tool_servers.assign(self.instance, self._fields(cleaned), self.actor)
            if {"url", "oauth_token_url", "only_public"} & {*self.changed_data}:
                tool_servers.check_addresses(self.instance, self.addresses)
        except ValidationError as error:
            self.add_error(None, error)
        except Forbidden as error:
            self.add_error("only_public", error.message)
        if self.operations and cleaned["kind"] != ToolServerKind.HTTP:
            self.add_error("openapi_document", gettext("An MCP server lists its tools itself."))
        return cleaned

    def _fields(self, cleaned: _Cleaned) -> _Cleaned:
        """The fields to change; a secret that stays is left out."""
        fields = {name: cleaned[name] for name in ToolServerForm.Meta.fields if name in cleaned}
        if self.actor.is_superuser:
            fields["public_only"] = cleaned["only_public"]
        if cleaned["secret"] or cleaned["remove_secret"]:
            fields["secret"] = cleaned["secret"]
        return fields

    def chosen_operations(self) -> list[str]:
        """The keys of the operations to import."""
        lines = self.cleaned_data["openapi_operations"].splitlines()
        if keys := [stripped for line in lines if (stripped := line.strip())]:
            return keys[: tool_servers.MAX_IMPORTED]
        usable = [operation.key for operation in self.operations if not operation.problem]
        return usable[: tool_servers.MAX_IMPORTED]


class ToolInline(ReadOnlyInline):
    model = Tool
    fields = ("function_name", "title", "is_enabled", "policy", "changed_at", "vanished_at")
    readonly_fields = fields
    show_change_link = True
    verbose_name_plural = _("tools")


@admin.register(ToolServer)
class ToolServerAdmin(AddressesAdmin):
    address_fields = tool_servers.ADDRESS_FIELDS
    form = ToolServerForm
    actions = ("list_tools",)
    list_display = (
        "name", "kind", "url", "auth", "is_enabled", "protocol_version", "listed_at",
        "why_unlisted",
    )  # fmt: skip
    list_filter = ("kind", "is_enabled")
    search_fields = ("name", "url")
    readonly_fields = (
        "stored_secret", "secret_changed_at", "protocol_version", "listed_at", "why_unlisted",
    )  # fmt: skip
    fieldsets = (
        (None, {"fields": ("name", "kind", "url", "is_enabled", "only_public")}),
        (
            _("Authentication"),
            {
                "fields": (
                    "auth", "key_header", "stored_secret", "secret", "remove_secret",
                    "secret_changed_at", "oauth_token_url", "oauth_client_id", "oauth_scope",
                    "oauth_resource",
                )
            },
        ),
        (_("Limits"), {"fields": ("timeout_seconds", "max_concurrent_calls", "max_result_bytes")}),
        (
            _("List of tools"),
            {"fields": ("list_ttl_seconds", "protocol_version", "listed_at", "why_unlisted")},
        ),
        (
            _("Import from OpenAPI"),
            {"classes": ("collapse",), "fields": ("openapi_document", "openapi_operations")},
        ),
    )  # fmt: skip
    inlines = (ToolInline,)

    @admin.display(description=_("stored secret"))
    def stored_secret(self, server: ToolServer) -> str:
        return server.secret_hint if server.has_secret else gettext("none")

    @admin.display(description=_("list error"))
    def why_unlisted(self, server: ToolServer) -> str:
        return shown_sentence(server.list_error, code="tools_unlisted")

    def save_model(
        self, request: HttpRequest, obj: ToolServer, form: forms.ModelForm[Model], change: bool
    ) -> None:
        super().save_model(request, obj, form, change)
        if isinstance(form, ToolServerForm) and form.operations:
            self._import(request, obj, form)

    def _import(self, request: HttpRequest, server: ToolServer, form: ToolServerForm) -> None:
        if not request.user.has_perm("chat.add_tool"):
            messages.error(request, gettext("You may not add tools."))
            return
        try:
            made = tool_servers.import_operations(server, form.operations, form.chosen_operations())
        except (Problem, ValidationError) as error:
            reason = translated(error) if isinstance(error, Problem) else "; ".join(error.messages)
            messages.error(request, gettext("Nothing was imported: %s") % reason)
        else:
            text = gettext(
                "Tools of %(count)d operations are there, disabled until you enable them."
            )
            messages.success(request, text % {"count": len(made)})

    def has_list_permission(self, request: HttpRequest) -> bool:
        return self.has_change_permission(request)

    @admin.action(description=_("List the tools now"), permissions=["list"])
    def list_tools(self, request: HttpRequest, queryset: QuerySet[ToolServer]) -> None:
        servers = list(queryset.filter(kind=ToolServerKind.MCP)[:MAX_LISTED])
        release_connections()
        for server in servers:
            try:
                changes = asyncio.run(listing.refresh(server))
            except ToolFault as fault:
                text = gettext("The tools of %(server)s cannot be listed: %(reason)s")
                messages.error(request, text % {"server": server, "reason": fault.message})
                continue
            text = gettext(
                "Tools of %(server)s: %(total)d; %(new)d new, %(changed)d changed, "
                "%(vanished)d vanished."
            )
            counts = {name: len(getattr(changes, name)) for name in ("new", "changed", "vanished")}
            messages.success(request, text % {"server": server, "total": changes.total, **counts})


@admin.register(Tool)
class ToolAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Descriptions from an MCP server are read-only; tools over HTTP are written here."""

    actions = ("enable", "disable", "mark_seen")
    list_display = (
        "function_name", "server", "title", "is_enabled", "policy", "is_restricted",
        "is_idempotent", "price", "changed_at", "vanished_at",
    )  # fmt: skip
    list_select_related = ("server",)
    list_filter = (
        "server", "is_enabled", "policy", ("changed_at", admin.EmptyFieldListFilter),
        ("vanished_at", admin.EmptyFieldListFilter),
    )  # fmt: skip
    search_fields = ("function_name", "name", "title")
    readonly_fields = ("hints", "why_unusable", "changed_at", "changes", "vanished_at")
    fieldsets = (
        (None, {"fields": ("server", "name", "function_name", "is_enabled", "is_restricted")}),
        (_("Policy"), {"fields": ("policy", "is_idempotent", "price", "currency", "hints")}),
        (
            _("Definition"),
            {"fields": ("title", "description", "input_schema", "output_schema", "why_unusable")},
        ),
        (_("Plain HTTP"), {"fields": ("method", "path", "parameters")}),
        (_("Changes by its server"), {"fields": ("changed_at", "changes", "vanished_at")}),
    )  # fmt: skip
    inlines = (RolePermissionInline,)

    #: Fields that an MCP tool's server writes.
    _said = ("title", "description", "input_schema", "output_schema")

    def get_readonly_fields(self, request: HttpRequest, obj: Tool | None = None) -> tuple[str, ...]:
        if obj is None:
            return self.readonly_fields
        # Scenes name a tool by its function name.
        fixed = (*self.readonly_fields, "server", "name", "function_name")
        if obj.server.kind == ToolServerKind.HTTP:
            return fixed
        return (*fixed, *self._said, "method", "path", "parameters")

    def formfield_for_foreignkey(self, db_field: Any, request: Any, **kwargs: Any) -> Any:
        if db_field.name == "server":
            # Others say themselves which tools they have.
            kwargs["queryset"] = ToolServer.objects.filter(kind=ToolServerKind.HTTP)
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    @admin.display(description=_("problem"))
    def why_unusable(self, tool: Tool) -> str:
        return shown_sentence(tool.problem, code="tool_unusable")

    @admin.display(description=_("changes"))
    def changes(self, tool: Tool) -> str:
        if not tool.previous:
            return gettext("none")
        now = {name: getattr(tool, name) for name in tool.previous}
        before, after = (
            json.dumps(value, indent=1, ensure_ascii=False).splitlines()
            for value in (tool.previous, now)
        )
        lines = list(unified_diff(before, after, lineterm="", n=2))[2:]
        return format_html("<pre>{}</pre>", "\n".join(lines))

    @admin.action(description=_("Enable"), permissions=["change"])
    def enable(self, request: HttpRequest, queryset: QuerySet[Tool]) -> None:
        self._save_all(queryset, is_enabled=True)

    @admin.action(description=_("Disable"), permissions=["change"])
    def disable(self, request: HttpRequest, queryset: QuerySet[Tool]) -> None:
        self._save_all(queryset, is_enabled=False)

    @admin.action(description=_("Note that the changes were looked at"), permissions=["change"])
    def mark_seen(self, request: HttpRequest, queryset: QuerySet[Tool]) -> None:
        self._save_all(queryset, changed_at=None, previous=None)

    def _save_all(self, queryset: QuerySet[Tool], **fields: object) -> None:
        """One by one: the audit log listens to the signals of saving."""
        for tool in queryset:
            for name, value in fields.items():
                setattr(tool, name, value)
            tool.save(update_fields=list(fields))
