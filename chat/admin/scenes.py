"""Admin of scenes and their versions; what is written goes through chat/services/scenes.py."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.admin import RolePermissionInline
from accounts.models import User
from aily.problems import Problem
from chat.admin.problems import translated
from chat.admin.readonly import ReadOnlyInline
from chat.admin.request_forms import RequestFormAdmin
from chat.models import Scene, SceneVersion
from chat.services import scenes as service

_TOOL_LIMITS = ("max_tool_steps", "max_tool_seconds", "max_tool_result_bytes", "max_tool_cost")
_WRITTEN = (
    "system_template", "user_template", "variables_schema", "output_schema", "model",
    "fallback_models", "params", "tools", *_TOOL_LIMITS, "single_flight", "cache_ttl_seconds",
    "notes",
)  # fmt: skip


def _user(request: HttpRequest) -> User | None:
    return request.user if isinstance(request.user, User) else None


#: `cleaned_data` of a form.
_Cleaned = dict[str, Any]
_Action = tuple[Callable[..., str], str, str]


class VersionInline(ReadOnlyInline):
    model = SceneVersion
    fk_name = "scene"
    fields = ("number", "notes", "model", "created_by", "created_at", "published_at")
    readonly_fields = fields
    show_change_link = True
    verbose_name_plural = _("versions")

    def get_queryset(self, request: HttpRequest) -> QuerySet[SceneVersion]:
        return super().get_queryset(request).select_related("scene", "model", "created_by")


@admin.register(Scene)
class SceneAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = (
        "slug", "title", "is_enabled", "is_restricted", "live_version", "updated_at"
    )  # fmt: skip
    list_select_related = ("live_version__scene",)
    list_filter = ("is_enabled", "is_restricted")
    search_fields = ("slug", "title")
    fields = ("slug", "title", "description", "is_enabled", "is_restricted", "live_version")
    readonly_fields = ("live_version",)
    prepopulated_fields = {"slug": ("title",)}
    inlines = (RolePermissionInline, VersionInline)

    def get_deleted_objects(
        self, objs: QuerySet[Scene] | Sequence[Scene], request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        shown, counts, lacking, protected = super().get_deleted_objects(objs, request)
        # Published versions cannot be deleted, but go with their scene.
        versions = SceneVersion._meta.verbose_name  # noqa: SLF001 - documented, for all its name
        return shown, counts, set(lacking) - {versions}, protected


class VersionForm(forms.ModelForm):  # type: ignore[type-arg]
    #: The user who fills the form in.
    editor: User | None = None

    class Meta:
        model = SceneVersion
        fields = ("scene", *_WRITTEN)

    def clean(self) -> _Cleaned:
        cleaned: _Cleaned = super().clean() or self.cleaned_data
        if self.errors:
            return cleaned
        cleaned["fallback_models"] = cleaned.get("fallback_models") or []
        cleaned["tools"] = cleaned.get("tools") or []
        cleaned["cache_ttl_seconds"] = cleaned.get("cache_ttl_seconds") or 0
        written = {name: cleaned[name] for name in _WRITTEN if name in cleaned}
        try:
            service.validate_version(SceneVersion(**written), self.editor)
        except Problem as problem:
            field = problem.field if problem.field in self.fields else None
            self.add_error(field, translated(problem))
        return cleaned


@admin.register(SceneVersion)
class SceneVersionAdmin(RequestFormAdmin):
    form = VersionForm
    list_display = ("scene", "number", "is_live", "notes", "model", "created_by", "published_at")
    list_display_links = ("scene", "number")
    list_select_related = ("scene", "model", "created_by")
    list_filter = ("scene", ("published_at", admin.EmptyFieldListFilter))
    search_fields = ("scene__slug", "notes")
    readonly_fields = ("number", "created_by", "created_at", "published_at")
    fields = ("scene", *_WRITTEN, *readonly_fields)
    actions = ("publish", "make_live")

    @admin.display(boolean=True, description=_("live"))
    def is_live(self, version: SceneVersion) -> bool:
        return version.scene.live_version_id == version.pk

    def get_readonly_fields(
        self, request: HttpRequest, obj: SceneVersion | None = None
    ) -> tuple[str, ...]:
        return self.readonly_fields if obj is None else ("scene", *self.readonly_fields)

    def has_change_permission(self, request: HttpRequest, obj: SceneVersion | None = None) -> bool:
        is_frozen = obj is not None and obj.is_published
        return not is_frozen and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: SceneVersion | None = None) -> bool:
        is_frozen = obj is not None and obj.is_published
        return not is_frozen and super().has_delete_permission(request, obj)

    def has_publish_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("chat.publish_scene")

    def form_attributes(self, request: HttpRequest) -> dict[str, object]:
        return {"editor": _user(request)}

    def get_actions(self, request: HttpRequest) -> dict[str, _Action | None]:
        actions = super().get_actions(request)
        # It would delete published versions as well.
        actions.pop("delete_selected", None)
        return actions

    def save_model(
        self,
        request: HttpRequest,
        obj: SceneVersion,
        form: forms.ModelForm[SceneVersion],
        change: bool,
    ) -> None:
        fields = {name: form.cleaned_data[name] for name in _WRITTEN}
        if change:
            service.edit_version(obj, fields, _user(request))
            return
        made = service.create_version(obj.scene, _user(request), fields)
        # The admin uses its own object afterwards, for the log entry and the redirect.
        obj.pk, obj.number = made.pk, made.number

    def delete_model(self, request: HttpRequest, obj: SceneVersion) -> None:
        service.delete_version(obj)

    @admin.action(description=_("Publish and make live"), permissions=["publish"])
    def publish(self, request: HttpRequest, queryset: QuerySet[SceneVersion]) -> None:
        action = partial(service.publish, editor=_user(request))
        done = gettext("%(version)s is published and live.")
        self._run_for_one(request, queryset, action, done)

    @admin.action(description=_("Make live (forth or back)"), permissions=["publish"])
    def make_live(self, request: HttpRequest, queryset: QuerySet[SceneVersion]) -> None:
        done = gettext("%(version)s is live.")
        self._run_for_one(request, queryset, service.make_live, done)

    def _run_for_one(
        self,
        request: HttpRequest,
        queryset: QuerySet[SceneVersion],
        action: Callable[[SceneVersion], object],
        done: str,
    ) -> None:
        chosen = list(queryset[:2])
        if len(chosen) != 1:
            messages.error(request, gettext("Choose one version."))
            return
        try:
            action(chosen[0])
        except Problem as problem:
            messages.error(request, f"{chosen[0]}: {translated(problem)}")
        else:
            messages.success(request, done % {"version": chosen[0]})
