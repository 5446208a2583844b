"""REST: the user behind the credentials, with permissions, limits and menu."""

from __future__ import annotations

from ninja import Router, Schema
from pydantic import Field

from accounts.access.limits import limits_of
from accounts.access.menus import menu_language, menu_of
from accounts.access.permissions import permissions_of
from accounts.access.roles import named_objects
from accounts.api.menus import MenuOut
from accounts.api.schemas import LimitsOut, ObjectPermission, RoleRef
from accounts.authentication import AuthenticatedRequest
from aily.rest.openapi import example

router = Router(tags=["accounts"])


class MeOut(Schema):
    model_config = example(
        id=42,
        username="alice",
        is_staff=False,
        is_superuser=False,
        permissions=["chat.use_llmmodel"],
    )

    id: int
    username: str
    is_staff: bool
    is_superuser: bool = Field(description="May do everything, whatever is listed here.")
    roles: list[RoleRef]
    permissions: list[str] = Field(description="On all objects.")
    objects: list[ObjectPermission] = Field(description="On single ones.")
    limits: LimitsOut = Field(description="Null: there is none.")
    menu: list[MenuOut]


@router.get(
    "/me", operation_id="get_me", response=MeOut, summary="The user behind these credentials"
)
def me(request: AuthenticatedRequest) -> dict[str, object]:
    user = request.auth.user
    permissions = permissions_of(user)
    return {
        "id": user.pk,
        "username": user.username,
        "is_staff": permissions.is_staff,
        "is_superuser": permissions.is_superuser,
        "roles": [{"id": pk, "name": name} for pk, name in permissions.roles.items()],
        "permissions": permissions.everywhere(),
        "objects": named_objects(
            (name, pk)
            for grants in permissions.grants
            for name in grants.objects
            for pk in grants.objects[name]
        ),
        "limits": limits_of([user.pk])[user.pk],
        "menu": menu_of(permissions, menu_language(request)),
    }
