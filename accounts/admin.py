"""Admin of users, roles, menus and API keys. Secrets are shown once, digests never.

What one may not give or touch is not offered here; that it stays so is seen to where rows are saved
(accounts/delegation.py).
"""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.admin import GenericTabularInline
from django.core.exceptions import PermissionDenied
from django.db.models import Count, F, QuerySet
from django.forms import ModelChoiceField, ModelForm
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from guardian.models import GroupObjectPermission

from accounts.access.menus import save_item
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
from aily.problems import Conflict, Problem

LIMITS = ("requests_per_minute", "max_tasks_in_flight", "max_tasks_queued")

admin.site.unregister(Group)


def actor_of(request: HttpRequest) -> User:
    """Who uses the admin: its site lets in nobody else."""
    if not isinstance(request.user, User):
        raise PermissionDenied
    return request.user


# --- Users --------------------------------------------------------------------------------------
@admin.register(User)
class AilyUserAdmin(UserAdmin):  # type: ignore[type-arg]
    fieldsets = (
        *(UserAdmin.fieldsets or ()),
        ("Second factor", {"fields": ("has_totp",)}),
        ("Queue", {"fields": ("queue_weight", *LIMITS)}),
    )
    readonly_fields = ("has_totp",)
    list_display = ("username", "email", "first_name", "last_name", "is_staff", "has_totp")
    list_filter = ("is_staff", "is_superuser", "is_active", "has_totp", "groups")
    actions = ("reset_totp",)

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> Any:
        fields = super().get_readonly_fields(request, obj)
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
        field: Any = super().formfield_for_manytomany(db_field, request, **kwargs)
        if db_field.name == "groups" and not actor_of(request).is_superuser:
            roles = roles_to_give(actor_of(request))
            field.queryset = field.queryset.filter(pk__in=roles)
        return field

    @admin.action(description="Reset TOTP of selected users", permissions=["change"])
    def reset_totp(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        # One's own goes with a code, at /account/totp/: whoever took over a session has none.
        users = [
            user
            for user in queryset
            if user != request.user and self.has_change_permission(request, user)
        ]
        reset = sum(remove(user) for user in users)
        messages.success(request, f"Reset the TOTP of {reset} user(s). They set it up anew.")


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
        field: Any = super().formfield_for_manytomany(db_field, request, **kwargs)
        if db_field.name == "permissions" and not actor_of(request).is_superuser:
            held = permissions_to_give(actor_of(request), field.queryset)
            field.queryset = field.queryset.filter(pk__in=held)
        return field

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).annotate(member_count=Count("user"))

    @admin.display(description="members", ordering="member_count")
    def members(self, role: Any) -> str:
        # Given and taken away on the users' pages: a role may have thousands.
        users = f"{reverse('admin:accounts_user_changelist')}?groups__id__exact={role.pk}"
        return format_html('<a href="{}">{}</a>', users, role.member_count) if role.pk else "0"

    @admin.display(description="on single objects")
    def single_objects(self, role: Role) -> str:
        granted = GroupObjectPermission.objects.filter(group=role).select_related("permission")
        rows = [(one.permission.name, str(one.content_object)) for one in granted]
        listed = format_html_join("", "<li>{}: {}</li>", sorted(rows))
        # Where they are given, and taken away.
        return format_html("<ul>{}</ul>Set on the page of each object.", listed)


class _PermissionField(ModelChoiceField):  # type: ignore[type-arg]
    def label_from_instance(self, obj: Permission) -> str:
        return obj.name


class RolePermissionInline(GenericTabularInline):
    """On the page of an object: which roles may do what with it."""

    model = GroupObjectPermission
    ct_fk_field = "object_pk"
    fields = ("group", "permission")
    verbose_name = "permission of a role"
    verbose_name_plural = "permissions of roles"
    extra = 0

    def formfield_for_foreignkey(self, db_field: Any, request: Any, **kwargs: Any) -> Any:
        if db_field.name == "permission":
            names = permissions_on(self.parent_model)
            kwargs["queryset"] = Permission.objects.filter(
                pk__in=[one.pk for one in find_permissions(names).values()]
            )
            kwargs["form_class"] = _PermissionField
        else:
            kwargs["label"] = "role"
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
    fields = ("owner", "name", "expires_at", "requests_per_minute", *readonly_fields)
    actions = ("revoke",)

    def get_fields(self, request: HttpRequest, obj: APIKey | None = None) -> Any:
        if obj is None and not actor_of(request).is_superuser:
            # Made for oneself. Superusers make them for accounts that never log in.
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

    def add_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            return super().add_view(request, *args, **kwargs)
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
        messages.warning(request, f"Copy this key now, it is not shown again: {secret}")

    @admin.action(description="Revoke selected API keys", permissions=["change"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[APIKey]) -> None:
        keys = APIKey.objects.filter(pk__in=queryset)
        owners = User.objects.filter(pk__in=keys.values("owner"))
        theirs = [owner for owner in owners if may_change_user(actor_of(request), owner)]
        revoked = keys.filter(owner__in=theirs).revoke()
        messages.success(request, f"Revoked {revoked} key(s).")

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
    # What is at the top first, then what is below it.
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
