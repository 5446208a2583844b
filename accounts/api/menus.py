"""REST: the user's menu, and the menu items for staff."""

# Annotations stay objects here: ninja's paginate loses the module to look names up in.

from typing import Self

from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from ninja import Query, Router, Schema, Status
from ninja.pagination import paginate
from pydantic import Field

from accounts.access.menus import MenuNode, menu_language, menu_of, save_item
from accounts.access.permissions import permissions_of, require_permission
from accounts.authentication import AuthenticatedRequest
from accounts.idempotency import idempotent
from accounts.models import MenuItem
from aily.problems import InvalidRequest
from aily.rest.etags import if_match
from aily.rest.openapi import example
from aily.rest.pages import Page, matching
from aily.rest.requests import RequestSchema
from aily.rest.writes import assign

router = Router(tags=["menus"])


class MenuOut(Schema):
    model_config = example(
        id=1,
        label="Work",
        icon="briefcase",
        route="",
        children=[{"id": 2, "label": "Tasks", "icon": "list", "route": "/tasks", "children": []}],
    )

    id: int
    label: str = Field(description="In the language of Accept-Language, where there is one.")
    icon: str
    route: str = Field(description="Empty: a heading.")
    children: list[Self]


class ItemFilter(Schema):
    parent: int | None = Field(None, description="Those right below this item.")
    is_enabled: bool | None = None


class ItemOut(Schema):
    model_config = example(
        id=2,
        parent=1,
        position=0,
        label="Tasks",
        translations={"de": "Aufgaben"},
        icon="list",
        route="/tasks",
        is_enabled=True,
        is_restricted=False,
        permission="",
    )

    id: int
    parent: int | None = Field(alias="parent_id")
    position: int
    label: str
    translations: dict[str, str]
    icon: str
    route: str
    is_enabled: bool
    is_restricted: bool
    permission: str


class ItemPatch(RequestSchema):
    model_config = example(parent=None, position=1)

    parent: int | None = Field(None, description="The item's id. Null: at the top.")
    position: int = Field(0, ge=0, le=10_000, description="Among its siblings, from 0.")
    label: str = ""
    translations: dict[str, str] = Field(
        default_factory=dict, description='Labels by language, such as {"de": "Aufgaben"}.'
    )
    icon: str = ""
    route: str = Field("", description="A path or an https address. Empty: a heading.")
    is_enabled: bool = True
    is_restricted: bool = Field(
        False, description="Only for those with the permission accounts.use_menuitem on it."
    )
    permission: str = Field("", description="Only for those who have this permission as well.")

    def given(self) -> dict[str, object]:
        """The fields of the request, its parent looked up. Raises InvalidRequest."""
        fields = self.dict(exclude_unset=True)
        if self.parent is not None:
            fields["parent"] = MenuItem.objects.filter(pk=self.parent).first()
            if fields["parent"] is None:
                message = f"There is no menu item {self.parent}."
                params = {"rule": "no_such_menu_item", "id": str(self.parent)}
                raise InvalidRequest(message, field="parent", params=params)
        return fields


class ItemIn(ItemPatch):
    model_config = example(
        label="Tasks", translations={"de": "Aufgaben"}, icon="list", route="/tasks"
    )

    label: str


def _write(item: MenuItem, fields: dict[str, object]) -> MenuItem:
    assign(item, fields)
    save_item(item)
    return item


@router.get("/menus", response=list[MenuOut], summary="The menu as you see it")
def get_menu(request: AuthenticatedRequest) -> list[MenuNode]:
    nodes = menu_of(permissions_of(request.auth.user), menu_language(request))
    return list(nodes)  # a tuple would be a status and an answer


@router.get(
    "/menus/items", operation_id="list_menu_items", response=list[ItemOut], summary="All menu items"
)
@paginate(Page)
def list_items(request: AuthenticatedRequest, filters: Query[ItemFilter]) -> QuerySet[MenuItem]:
    """In the order of the menu, siblings together."""
    require_permission(request.auth.user, "accounts.view_menuitem")
    items = MenuItem.objects.order_by("parent_id", "position", "id")
    return matching(items, parent=filters.parent, is_enabled=filters.is_enabled)


@router.post(
    "/menus/items",
    operation_id="create_menu_item",
    response={201: ItemOut},
    summary="Add a menu item",
)
@idempotent(ItemOut)
def create_item(request: AuthenticatedRequest, payload: ItemIn) -> Status[MenuItem]:
    require_permission(request.auth.user, "accounts.add_menuitem")
    return Status(201, _write(MenuItem(), payload.given()))


@router.get(
    "/menus/items/{int:item_id}",
    operation_id="get_menu_item",
    response=ItemOut,
    summary="One menu item",
)
def get_item(request: AuthenticatedRequest, item_id: int) -> MenuItem:
    require_permission(request.auth.user, "accounts.view_menuitem")
    return get_object_or_404(MenuItem, pk=item_id)


@router.patch(
    "/menus/items/{int:item_id}",
    operation_id="edit_menu_item",
    response=ItemOut,
    summary="Change or move an item",
)
@if_match(ItemOut, get_item)
def edit_item(request: AuthenticatedRequest, item_id: int, payload: ItemPatch) -> MenuItem:
    require_permission(request.auth.user, "accounts.change_menuitem")
    return _write(get_object_or_404(MenuItem, pk=item_id), payload.given())


@router.delete(
    "/menus/items/{int:item_id}",
    operation_id="delete_menu_item",
    response={204: None},
    summary="Delete an item",
)
@if_match(ItemOut, get_item)
def delete_item(request: AuthenticatedRequest, item_id: int) -> Status[None]:
    require_permission(request.auth.user, "accounts.delete_menuitem")
    get_object_or_404(MenuItem, pk=item_id).delete()
    return Status(204, None)
