"""REST: roles, for staff. A role is some users, what they may do, and their limits."""

# Annotations stay objects here: ninja's paginate loses the module to look names up in.

from typing import Any, Literal

from django.db.models import Count, Prefetch, QuerySet
from django.shortcuts import get_object_or_404
from guardian.models import GroupObjectPermission
from ninja import Query, Router, Schema, Status
from ninja.pagination import paginate
from pydantic import Field

from accounts.access.permissions import require_permission
from accounts.access.roles import named_objects, write_role
from accounts.api.schemas import NO_LIMITS, LimitsOut, LimitsPatch, ObjectPermission
from accounts.authentication import AuthenticatedRequest
from accounts.idempotency import idempotent
from accounts.models import Role, RoleLimits, User
from aily.rest.etags import if_match
from aily.rest.openapi import example
from aily.rest.pages import Page, ordered
from aily.rest.requests import RequestSchema

router = Router(tags=["roles"])


class RoleOut(Schema):
    model_config = example(id=3, name="editors", member_count=12, permissions=["chat.view_scene"])

    id: int
    name: str
    member_count: int
    permissions: list[str]
    objects: list[ObjectPermission]
    limits: LimitsOut | None

    @staticmethod
    def resolve_permissions(role: Role) -> list[str]:
        return sorted(
            f"{permission.content_type.app_label}.{permission.codename}"
            for permission in role.permissions.all()
        )

    @staticmethod
    def resolve_objects(role: Role) -> list[dict[str, str]]:
        return named_objects(
            (
                f"{grant.permission.content_type.app_label}.{grant.permission.codename}",
                grant.object_pk,
            )
            for grant in role.groupobjectpermission_set.all()
        )

    @staticmethod
    def resolve_limits(role: Role) -> RoleLimits | None:
        return getattr(role, "limits", None)


class RolePatch(RequestSchema):
    model_config = example(objects=[{"permission": "chat.publish_scene", "object": "summarize"}])

    name: str = Field("", min_length=1, max_length=150)
    permissions: list[str] = Field(
        default_factory=list,
        max_length=1000,
        description="On all objects, such as chat.view_task. For staff; those to use something "
        "hold for everybody.",
    )
    objects: list[ObjectPermission] = Field(
        default_factory=list, max_length=1000, description="On single objects, for everybody."
    )
    limits: LimitsPatch = NO_LIMITS


class RoleIn(RolePatch):
    model_config = example(
        name="editors",
        permissions=["chat.view_scene"],
        objects=[{"permission": "chat.change_scene", "object": "summarize"}],
        limits={"requests_per_minute": 1200},
    )

    name: str = Field(min_length=1, max_length=150)


class RoleFilter(Schema):
    search: str = Field("", max_length=150, description="Part of the name.")
    ordering: Literal["name", "-name", "member_count", "-member_count"] = "name"


def _roles() -> QuerySet[Any]:
    objects = GroupObjectPermission.objects.select_related("permission__content_type")
    return (
        Role.objects.select_related("limits")
        .prefetch_related(
            "permissions__content_type", Prefetch("groupobjectpermission_set", objects)
        )
        .annotate(member_count=Count("user"))
        .order_by("name")
    )


def _write(by: User, role: Role, payload: RolePatch) -> Role:
    """Raises Forbidden, InvalidRequest and ValidationError; then nothing has changed.

    The rules of delegation are enforced as rows are saved (accounts/delegation_checks.py).
    """
    if "limits" in payload.model_fields_set:
        # As in the admin, where they are a form of their own.
        require_permission(by, "accounts.change_rolelimits")
    write_role(role, payload.dict(exclude_unset=True))
    read: Role = _roles().get(pk=role.pk)
    return read


@router.get("/roles", response=list[RoleOut], summary="Roles")
@paginate(Page)
def list_roles(request: AuthenticatedRequest, filters: Query[RoleFilter]) -> QuerySet[Role]:
    require_permission(request.auth.user, "accounts.view_role")
    return ordered(_roles().filter(name__icontains=filters.search), filters.ordering)


@router.post("/roles", response={201: RoleOut}, summary="Make a role")
@idempotent(RoleOut)
def create_role(request: AuthenticatedRequest, payload: RoleIn) -> Status[Role]:
    require_permission(request.auth.user, "accounts.add_role")
    return Status(201, _write(request.auth.user, Role(), payload))


@router.get("/roles/{int:role_id}", response=RoleOut, summary="One role")
def get_role(request: AuthenticatedRequest, role_id: int) -> Role:
    require_permission(request.auth.user, "accounts.view_role")
    role: Role = get_object_or_404(_roles(), pk=role_id)
    return role


@router.patch("/roles/{int:role_id}", response=RoleOut, summary="Change a role")
@if_match(RoleOut, get_role)
def edit_role(request: AuthenticatedRequest, role_id: int, payload: RolePatch) -> Role:
    require_permission(request.auth.user, "accounts.change_role")
    role = get_object_or_404(Role, pk=role_id)
    return _write(request.auth.user, role, payload)


@router.delete("/roles/{int:role_id}", response={204: None}, summary="Delete a role")
@if_match(RoleOut, get_role)
def delete_role(request: AuthenticatedRequest, role_id: int) -> Status[None]:
    require_permission(request.auth.user, "accounts.delete_role")
    get_object_or_404(Role, pk=role_id).delete()
    return Status(204, None)
