"""REST: tools. Users see which they may have called; staff add, change and enable them."""

# Annotations stay objects here: ninja's paginate loses the module to look names up in.

from datetime import datetime
from decimal import Decimal
from typing import Literal

from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from ninja import Query, Router, Schema, Status
from ninja.pagination import paginate
from pydantic import Field, JsonValue

from accounts.access.permissions import permissions_of, require_permission
from accounts.authentication import AuthenticatedRequest
from accounts.idempotency import idempotent
from aily.problems import InvalidRequest
from aily.rest.etags import if_match
from aily.rest.openapi import example
from aily.rest.pages import ShortPage, matching, ordered
from aily.rest.requests import RequestSchema
from aily.rest.writes import add, change
from chat.api.references import referenced
from chat.exceptions import because
from chat.models import Tool, ToolServer, ToolServerKind
from chat.reasons import Reason
from chat.services import tool_servers
from chat.tools.offers import usable_tools

router = Router(tags=["tools"])

Policy = Literal["automatic", "ask", "never"]
Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
_POLICY = "automatic: called at once. ask: the user approves each call. never: not called."
_INPUT_SCHEMA: dict[str, JsonValue] = {
    "type": "object",
    "properties": {"id": {"type": "string"}},
    "required": ["id"],
}

_EXAMPLE: dict[str, JsonValue] = {
    "name": "getOrder",
    "server": "shop",
    "server_name": "getOrder",
    "title": "One order",
    "description": "One order, with its lines.",
    "input_schema": _INPUT_SCHEMA,
    "output_schema": None,
    "hints": {},
    "is_enabled": True,
    "is_restricted": False,
    "policy": "automatic",
    "is_idempotent": True,
    "price": "0.000000",
    "currency": "USD",
    "problem": "",
    "changed_at": None,
    "vanished_at": None,
}


# --- Schemas ------------------------------------------------------------------------------------
class ToolOut(Schema):
    model_config = example(**_EXAMPLE)

    name: str = Field(alias="function_name", description="As models, scenes and requests call it.")
    server: str = Field(alias="server.name")
    server_name: str = Field(alias="name", description="As its server calls it.")
    title: str
    description: str
    input_schema: dict[str, object]
    output_schema: dict[str, object] | None
    hints: dict[str, bool] = Field(
        description="What its server says about its effects. Nothing follows from them."
    )
    is_enabled: bool
    is_restricted: bool = Field(description="Only for those with permission to use it.")
    policy: Policy = Field(description=_POLICY)
    is_idempotent: bool = Field(description="A call may be made again after a worker's death.")
    price: Decimal = Field(description="Of one call.")
    currency: str
    problem: str = Field(description="Why it cannot be offered.")
    changed_at: datetime | None = Field(
        description="When its server changed its description or schemas, since staff last looked."
    )
    vanished_at: datetime | None = Field(description="Since when its server lists it no more.")


class Definition(Schema):
    description: str
    input_schema: dict[str, object]
    output_schema: dict[str, object] | None


class ToolDetail(ToolOut):
    model_config = example(
        **_EXAMPLE,
        method="GET",
        path="/orders/{id}",
        parameters={"id": {"in": "path", "name": "id"}},
        previous=None,
    )

    method: str = Field(description="Of a tool over plain HTTP.")
    path: str
    parameters: dict[str, dict[str, str]] = Field(
        description="Where arguments go: in path, query, header or body, and by which name. "
        "Others go into the JSON body, or into the query where there is none."
    )
    previous: Definition | None = Field(description="What it was before `changed_at`.")


class ToolPatch(RequestSchema):
    """Fields that an MCP tool's server writes cannot be changed here."""

    model_config = example(is_enabled=True, policy="automatic", is_idempotent=True)

    is_enabled: bool = False
    is_restricted: bool = False
    policy: Policy = Field("ask", description=_POLICY)
    is_idempotent: bool = False
    price: Decimal = Decimal(0)
    currency: str = "USD"
    is_seen: bool = Field(False, description="true: staff have looked at what its server changed.")
    title: str = Field("", max_length=200, description="This and what follows: over plain HTTP.")
    description: str = ""
    input_schema: dict[str, JsonValue] = Field(default_factory=dict)
    output_schema: dict[str, JsonValue] | None = None
    method: Method = "POST"
    path: str = Field("", description="Such as /orders/{id}.")
    parameters: dict[str, dict[str, str]] = Field(default_factory=dict)

    def given(self) -> dict[str, object]:
        return self.dict(exclude_unset=True, exclude={"is_seen"})


class ToolIn(ToolPatch):
    model_config = example(
        server="shop",
        name="getOrder",
        description="One order, with its lines.",
        method="GET",
        path="/orders/{id}",
        input_schema=_INPUT_SCHEMA,
    )

    server: str = Field(max_length=50, description="The name of a server of kind http.")
    name: str
    method: Method


class ToolPage(ShortPage):
    columns = ("description", "input_schema", "output_schema")


class ToolFilter(Schema):
    server: str | None = Field(None, max_length=50)
    is_enabled: bool | None = None
    policy: Policy | None = None
    is_vanished: bool | None = None
    is_changed: bool | None = Field(None, description="Since staff last looked.")
    ordering: Literal["name", "-name"] = "name"


#: Fields that an MCP tool's server writes, not staff.
_DEFINITION = frozenset(
    ("title", "description", "input_schema", "output_schema", "method", "path", "parameters")
)


# --- Tools --------------------------------------------------------------------------------------
@router.get(
    "/tools",
    response=list[ToolOut],
    summary="Tools",
    description="Those that the caller may have called, where a scene offers them; all of them "
    "with permission to view tools.",
)
@paginate(ToolPage)
def list_tools(request: AuthenticatedRequest, filters: Query[ToolFilter]) -> QuerySet[Tool]:
    user = request.auth.user
    is_staff = permissions_of(user).allows("chat.view_tool")
    tools = Tool.objects.select_related("server") if is_staff else usable_tools(user.pk)
    tools = matching(
        tools,
        server__name=filters.server,
        is_enabled=filters.is_enabled,
        policy=filters.policy,
        vanished_at__isnull=_not(filters.is_vanished),
        changed_at__isnull=_not(filters.is_changed),
    )
    column = filters.ordering.replace("name", "function_name")
    return ordered(tools, column)


def _not(value: bool | None) -> bool | None:
    return None if value is None else not value


@router.post("/tools", response={201: ToolDetail}, summary="Add a tool over plain HTTP")
@idempotent(ToolDetail)
def create_tool(request: AuthenticatedRequest, payload: ToolIn) -> Status[Tool]:
    require_permission(request.auth.user, "chat.add_tool")
    server = referenced(
        ToolServer.objects.filter(name=payload.server).first(),
        "server",
        Reason.of("no_such_server", name=repr(payload.server)),
    )
    if server.kind != ToolServerKind.HTTP:
        raise because(InvalidRequest, Reason("mcp_tools"), field="server")
    fields = {**payload.given(), "server": server}
    tool_servers.check_schemas(fields, request.auth.user)
    name = tool_servers.free_function_name(server, payload.name)
    return Status(201, add(Tool(**fields, function_name=name)))


@router.get("/tools/{slug:name}", response=ToolDetail, summary="One tool, for staff")
def get_tool(request: AuthenticatedRequest, name: str) -> Tool:
    require_permission(request.auth.user, "chat.view_tool")
    return get_object_or_404(Tool.objects.select_related("server"), function_name=name)


@router.patch("/tools/{slug:name}", response=ToolDetail, summary="Change or enable a tool")
@if_match(ToolDetail, get_tool)
def edit_tool(request: AuthenticatedRequest, name: str, payload: ToolPatch) -> Tool:
    require_permission(request.auth.user, "chat.change_tool")
    tool = get_object_or_404(Tool.objects.select_related("server"), function_name=name)
    fields = payload.given()
    foreign = sorted(fields.keys() & _DEFINITION)
    if foreign and tool.server.kind == ToolServerKind.MCP:
        raise because(InvalidRequest, Reason("set_by_server"), field=foreign[0])
    tool_servers.check_schemas(fields, request.auth.user)
    if payload.is_seen:
        fields |= {"changed_at": None, "previous": None}
    change(tool, fields)
    return tool


@router.delete("/tools/{slug:name}", response={204: None}, summary="Delete a tool")
@if_match(ToolDetail, get_tool)
def delete_tool(request: AuthenticatedRequest, name: str) -> Status[None]:
    require_permission(request.auth.user, "chat.delete_tool")
    get_object_or_404(Tool, function_name=name).delete()
    return Status(204, None)
