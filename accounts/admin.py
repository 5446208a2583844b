"""Admin of users, roles, menus and API keys. Secrets are shown once, digests never.

The pages do not offer what the user may not change. The rule itself is enforced where rows are
saved (accounts/delegation_checks.py).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from django.contrib import admin, messages
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.admin import GenericTabularInline
from django.core.exceptions import PermissionDenied
from django.db.models import Count, F, QuerySet
from django.forms import (
    CheckboxSelectMultiple,
    ModelChoiceField,
    ModelForm,
    ModelMultipleChoiceField,
)
from django.forms.models import ModelChoiceIterator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from guardian.models import GroupObjectPermission

from accounts.access.menus import save_item
from accounts.access.permission_labels import permission_label
from accounts.access.permissions import find_permissions, permissions_on
from accounts.delegation import (
    ALLOWANCE_FIELDS,
    POWER_FIELDS,
    may_change_role,
    may_change_user,
    permissions_to_give,
    roles_to_give,
)
from accounts.models import APIKey, MenuItem, Role, RoleLimits, User
from accounts.sessions.admin import LoginEventAdmin as LoginEventAdmin
from accounts.sessions.totp import remove
from aily.admin.audit_log import AuditLogAdmin as AuditLogAdmin
from aily.admin.deletion import KeptWhileUsed
from aily.problems import Conflict, Problem

LIMITS = ("requests_per_minute", "max_tasks_in_flight", "max_tasks_queued")

admin.site.unregister(Group)


def actor_of(request: HttpRequest) -> User:
    """Return the user of the admin. Its site admits no others."""
    if not isinstance(request.user, User):
        raise PermissionDenied
    return request.user


class _PermissionsField(ModelMultipleChoiceField):  # type: ignore[type-arg]
    """Permissions of all models."""

    def label_from_instance(self, obj: Permission) -> str:
        return f"{obj.content_type} | {permission_label(obj)}"


class _PermissionBoxes(CheckboxSelectMultiple):
    template_name = "admin/permission_boxes.html"


class _ByModel(ModelChoiceIterator):  # type: ignore[type-arg]
    """Permissions in groups, one for each model, in the language of the page."""

    def __iter__(self) -> Iterator[Any]:
        groups: defaultdict[str, list[Any]] = defaultdict(list)
        for permission in self.queryset:
            if permission.content_type.model_class() is None:
                # Left over from a package that is not installed any more.
                continue
            groups[str(permission.content_type.name)].append(self.choice(permission))
        yield from sorted(groups.items(), key=lambda group: group[0].lower())


class _GroupedPermissionsField(ModelMultipleChoiceField):  # type: ignore[type-arg]
    """Permissions of all models as boxes, under the name of their model."""

    iterator = _ByModel

    def label_from_instance(self, obj: Permission) -> str:
        return permission_label(obj)


class _PermissionField(ModelChoiceField):  # type: ignore[type-arg]
    """Permissions of one model."""

    def label_from_instance(self, obj: Permission) -> str:
        return permission_label(obj)


# --- Users --------------------------------------------------------------------------------------
@admin.register(User)
class AilyUserAdmin(KeptWhileUsed, UserAdmin):  # type: ignore[type-arg]
    fieldsets = (
        *(UserAdmin.fieldsets or ()),
        (_("Second factor"), {"fields": ("has_totp",)}),
        (_("Queue"), {"fields": ("queue_weight", *LIMITS)}),
    )
    readonly_fields = ("has_totp",)
    list_display = ("username", "email", "first_name", "last_name", "is_staff", "has_totp")
    list_filter = ("is_staff", "is_superuser", "is_active", "has_totp", "groups")
    actions = ("reset_totp",)

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> tuple[str, ...]:
        fields = tuple(map(str, super().get_readonly_fields(request, obj)))
        if actor_of(request).is_superuser:
            return fields
        own = {*ALLOWANCE_FIELDS, "groups"} if obj is not None and obj.pk == request.user.pk else ()
        return (*fields, *POWER_FIELDS, "user_permissions", *own)

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        may = super().has_change_permission(request, obj)
        return may and (obj is None or may_change_user(actor_of(request), obj))

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        may = super().has_delete_permission(request, obj)
        return may and (obj is None or may_change_user(actor_of(request), obj))

    def formfield_for_manytomany(self, db_field: Any, request: Any, **kwargs: Any) -> Any:
        if db_field.name == "user_permissions":
            kwargs["form_class"] = _PermissionsField
        field: Any = super().formfield_for_manytomany(db_field, request, **kwargs)
        if db_field.name == "groups" and not actor_of(request).is_superuser:
            roles = roles_to_give(actor_of(request))
            field.queryset = field.queryset.filter(pk__in=roles)
        return field

    @admin.action(description=_("Reset TOTP of selected users"), permissions=["change"])
    def reset_totp(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        # Not the actor's own: that takes a code, at /account/totp/, which a stolen session lacks.
        users = [
            user
            for user in queryset
            if user != request.user and self.has_change_permission(request, user)
        ]
        reset = sum(remove(user) for user in users)
        text = ngettext(
            "Reset the TOTP of %(count)d user, who can set it up anew.",
            "Reset the TOTP of %(count)d users, who can set it up anew.",
            reset,
        )
        messages.success(request, text % {"count": reset})


# --- Roles --------------------------------------------------------------------------------------
@admin.register(Role)
class RoleAdmin(GroupAdmin):
    list_display = ("name", "members")
    fields = ("name", "permissions", "single_objects", "members")
    readonly_fields = ("single_objects", "members")

    def has_change_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
        may = super().has_change_permission(request, obj)
        return may and (obj is None or may_change_role(actor_of(request), obj))

    def has_delete_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
        may = super().has_delete_permission(request, obj)
        return may and (obj is None or may_change_role(actor_of(request), obj))

    def formfield_for_manytomany(self, db_field: Any, request: Any = None, **kwargs: Any) -> Any:
        if db_field.name == "permissions":
            kwargs["form_class"] = _GroupedPermissionsField
            kwargs["widget"] = _PermissionBoxes()
        field: Any = super().formfield_for_manytomany(db_field, request, **kwargs)
        if db_field.name == "permissions" and not actor_of(request).is_superuser:
            held = permissions_to_give(actor_of(request), field.queryset)
            field.queryset = field.queryset.filter(pk__in=held)
        return field

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).annotate(member_count=Count("user"))

    @admin.display(description=_("members"), ordering="member_count")
    def members(self, role: Any) -> str:
        # A link: a role may have thousands, and roles are given on the users' pages.
        users = f"{reverse('admin:accounts_user_changelist')}?groups__id__exact={role.pk}"
        return format_html('<a href="{}">{}</a>', users, role.member_count) if role.pk else "0"

    @admin.display(description=_("on single objects"))
    def single_objects(self, role: Role) -> str:
        grants = GroupObjectPermission.objects.filter(group=role)
        granted = grants.select_related("permission__content_type")
        rows = [
            (permission_label(grant.permission), str(grant.content_object)) for grant in granted
        ]
        listed = format_html_join("", "<li>{}: {}</li>", sorted(rows))
        return format_html("<ul>{}</ul>{}", listed, gettext("Set on the page of each object."))


class RolePermissionInline(GenericTabularInline):
    """On the page of an object: the permissions that roles have on it."""

    model = GroupObjectPermission
    ct_fk_field = "object_pk"
    fields = ("group", "permission")
    verbose_name = _("permission of a role")
    verbose_name_plural = _("permissions of roles")
    extra = 0

    def formfield_for_foreignkey(self, db_field: Any, request: Any, **kwargs: Any) -> Any:
        if db_field.name == "permission":
            names = permissions_on(self.parent_model)
            kwargs["queryset"] = Permission.objects.filter(
                pk__in=[permission.pk for permission in find_permissions(names).values()]
            )
            kwargs["form_class"] = _PermissionField
        else:
            kwargs["label"] = _("role")
        return super().formfield_for_foreignkey(db_field, request, **kwargs)


@admin.register(RoleLimits)
class RoleLimitsAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ("role", *LIMITS)
    list_select_related = ("role",)
    autocomplete_fields = ("role",)

    def has_change_permission(self, request: HttpRequest, obj: RoleLimits | None = None) -> bool:
        may = super().has_change_permission(request, obj)
        return may and (obj is None or may_change_role(actor_of(request), obj.role))

    def has_delete_permission(self, request: HttpRequest, obj: RoleLimits | None = None) -> bool:
        may = super().has_delete_permission(request, obj)
        return may and (obj is None or may_change_role(actor_of(request), obj.role))


# --- API keys -----------------------------------------------------------------------------------


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
    fields = ("owner", "name", "lane", "expires_at", "requests_per_minute", *readonly_fields)
    actions = ("revoke",)

    def get_fields(self, request: HttpRequest, obj: APIKey | None = None) -> Any:
        if obj is None and not actor_of(request).is_superuser:
            # Only superusers make keys for others: for accounts that never log in.
            return [name for name in self.fields if name != "owner"]
        return self.fields

    def get_readonly_fields(
        self, request: HttpRequest, obj: APIKey | None = None
    ) -> tuple[str, ...]:
        return self.readonly_fields if obj is None else ("owner", *self.readonly_fields)

    def has_change_permission(self, request: HttpRequest, obj: APIKey | None = None) -> bool:
        may = super().has_change_permission(request, obj)
        is_own = obj is not None and obj.owner_id == request.user.pk
        return may and (obj is None or is_own or actor_of(request).is_superuser)

    def has_delete_permission(self, request: HttpRequest, obj: APIKey | None = None) -> bool:
        may = super().has_delete_permission(request, obj)
        return may and (obj is None or may_change_user(actor_of(request), obj.owner))

    def add_view(
        self,
        request: HttpRequest,
        form_url: str = "",
        extra_context: dict[str, object] | None = None,
    ) -> HttpResponse:
        try:
            return super().add_view(request, form_url, extra_context)
        except Conflict as problem:
            messages.error(request, problem.message)
            return redirect("admin:accounts_apikey_changelist")

    def save_model(
        self, request: HttpRequest, obj: APIKey, form: ModelForm[APIKey], change: bool
    ) -> None:
        if change:
            super().save_model(request, obj, form, change)
            return
        if "owner" not in form.cleaned_data:
            obj.owner = actor_of(request)
        secret = obj.issue()
        text = gettext("Copy this key now, it is not shown again: %(secret)s")
        messages.warning(request, text % {"secret": secret})

    @admin.action(description=_("Revoke selected API keys"), permissions=["change"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[APIKey]) -> None:
        keys = APIKey.objects.filter(pk__in=queryset)
        owners = User.objects.filter(pk__in=keys.values("owner"))
        changeable = [owner for owner in owners if may_change_user(actor_of(request), owner)]
        revoked = keys.filter(owner__in=changeable).revoke()
        text = ngettext("Revoked %(count)d key.", "Revoked %(count)d keys.", revoked)
        messages.success(request, text % {"count": revoked})

    def get_queryset(self, request: HttpRequest) -> QuerySet[APIKey]:
        return super().get_queryset(request).defer("digest")

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"owner": request.user.pk, **super().get_changeform_initial_data(request)}


# --- Menus --------------------------------------------------------------------------------------
@admin.register(MenuItem)
class MenuItemAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ("label", "parent", "position", "route", "is_enabled", "is_restricted")
    list_select_related = ("parent",)
    list_filter = (
        "is_enabled", "is_restricted", ("parent", admin.RelatedOnlyFieldListFilter)
    )  # fmt: skip
    list_editable = ("position",)
    # Top-level items first, then those below them.
    ordering = (F("parent__position").asc(nulls_first=True), "parent", "position", "id")
    search_fields = ("label", "route")
    inlines = (RolePermissionInline,)

    def save_model(
        self, request: HttpRequest, obj: MenuItem, form: ModelForm[MenuItem], change: bool
    ) -> None:
        try:
            save_item(obj)
        except Problem as problem:
            messages.error(request, problem.message)
