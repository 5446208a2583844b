"""REST: tool servers, for staff, and imports of operations from OpenAPI."""

# Annotations stay objects here: ninja's paginate loses the module to look names up in.

from datetime import datetime
from typing import Literal

from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from ninja import Query, Router, Schema, Status
from ninja.pagination import paginate
from pydantic import Field, JsonValue

from accounts.access.permissions import require_permission
from accounts.authentication import AuthenticatedRequest
from accounts.idempotency import idempotent, takes_idempotency_key
from aily.database.threads import in_database
from aily.problems import Conflict, InvalidRequest
from aily.rest.etags import if_match, takes_if_match
from aily.rest.openapi import example
from aily.rest.pages import Page, matching, ordered
from aily.rest.requests import RequestSchema
from chat.api.tools import ToolOut
from chat.exceptions import ToolServerFailed, because
from chat.models import Tool, ToolServer, ToolServerKind
from chat.reasons import Reason
from chat.services import tool_servers
from chat.services.providers import Addresses
from chat.tools import listing
from chat.tools.openapi_fetch import fetch_document
from chat.tools.openapi_operations import DocumentError, Operation, operations_of
from chat.tools.results import ToolFault

router = Router(tags=["tools"])

Kind = Literal["mcp", "http"]
Auth = Literal["none", "bearer", "header", "oauth"]


# --- Schemas ------------------------------------------------------------------------------------
class ToolServerOut(Schema):
    model_config = example(
        name="crm",
        kind="mcp",
        url="https://crm.example.com/mcp",
        is_enabled=True,
        public_only=False,
        auth="bearer",
        key_header="",
        oauth_token_url="",
        oauth_client_id="",
        oauth_scope="",
        oauth_resource="",
        has_secret=True,
        secret_hint="…c3f9",  # noqa: S106 - an example
        secret_changed_at="2026-01-31T12:00:00Z",  # noqa: S106 - the same
        timeout_seconds=60,
        max_concurrent_calls=20,
        max_result_bytes=65536,
        list_ttl_seconds=3600,
        protocol_version="2026-07-28",
        listed_at="2026-01-31T12:00:00Z",
        list_error="",
    )

    name: str
    kind: Kind
    url: str
    is_enabled: bool
    public_only: bool = Field(
        description="Its addresses were given by somebody who is no superuser: calls go to the "
        "public internet only."
    )
    auth: Auth
    key_header: str
    oauth_token_url: str
    oauth_client_id: str
    oauth_scope: str
    oauth_resource: str
    has_secret: bool = Field(description="Whether a secret is stored. It is never shown.")
    secret_hint: str = Field(description="The last characters of the secret.")
    secret_changed_at: datetime | None
    timeout_seconds: float
    max_concurrent_calls: int
    max_result_bytes: int
    list_ttl_seconds: int
    protocol_version: str = Field(description="The revision that it speaks; empty: not known.")
    listed_at: datetime | None = Field(description="When its tools were listed last.")
    list_error: str = Field(description="Why listing failed the last time.")


class ToolServerPatch(RequestSchema):
    model_config = example(auth="bearer", secret="sk-...", max_concurrent_calls=50)  # noqa: S106

    kind: Kind = "mcp"
    url: str = Field("", description="An MCP server's endpoint; else what paths are put behind.")
    is_enabled: bool = True
    public_only: bool | None = Field(
        None, description="For superusers: whether calls go to the public internet only."
    )
    auth: Auth = Field(
        "none",
        description="How the secret is sent: as a bearer token, in `key_header`, or to "
        "`oauth_token_url` for a token (client credentials).",
    )
    key_header: str = Field("", description="Such as x-api-key.")
    oauth_token_url: str = Field(
        "",
        description="Empty, for an MCP server: it is asked itself when its tools are listed, and "
        "what it says is stored here.",
    )
    oauth_client_id: str = Field("", max_length=500)
    oauth_scope: str = Field("", max_length=500)
    oauth_resource: str = Field("", description="What the token is to be for (RFC 8707).")
    secret: str = Field("", description="Write-only, stored encrypted. Empty: none.")
    timeout_seconds: float = Field(60, description="Longest time of one call.")
    max_concurrent_calls: int = Field(20, description="Over all workers.")
    max_result_bytes: int = Field(65_536, description="Longer results are cut, with a note.")
    list_ttl_seconds: int = Field(3600, description="Until its tools are listed again.")


class ToolServerIn(ToolServerPatch):
    model_config = example(
        name="crm",
        kind="mcp",
        url="https://crm.example.com/mcp",
        auth="bearer",
        secret="sk-...",  # noqa: S106 - an example
    )

    name: str
    url: str


class ToolServerFilter(Schema):
    kind: Kind | None = None
    is_enabled: bool | None = None
    ordering: Literal["name", "-name"] = "name"


class ListingOut(Schema):
    model_config = example(total=5, new=["clock"], changed=[], vanished=[])

    total: int = Field(description="Tools that the server lists.")
    new: list[str] = Field(description="Disabled until they are enabled.")
    changed: list[str] = Field(description="Whose description or schemas have changed.")
    vanished: list[str]


_DOCUMENT: dict[str, JsonValue] = {
    "openapi": "3.1.0",
    "paths": {
        "/orders/{id}": {
            "get": {
                "operationId": "getOrder",
                "summary": "One order",
                "parameters": [
                    {"in": "path", "name": "id", "required": True, "schema": {"type": "string"}}
                ],
            }
        }
    },
}


class OperationsIn(RequestSchema):
    model_config = example(document=_DOCUMENT)

    document: dict[str, JsonValue] | None = Field(
        None, description="An OpenAPI document, version 3.0 to 3.2."
    )
    document_url: str | None = Field(
        None, description="Where the document is, in place of it; fetched as tools are called."
    )


class ImportIn(OperationsIn):
    model_config = example(document=_DOCUMENT, operations=["getOrder"])

    operations: list[str] = Field(
        min_length=1,
        max_length=tool_servers.MAX_IMPORTED,
        description="Keys of operations: an operationId, or method and path.",
    )


class OperationOut(Schema):
    model_config = example(
        key="getOrder",
        name="getOrder",
        method="GET",
        path="/orders/{id}",
        title="One order",
        description="One order, with its lines.",
        input_schema={
            "type": "object",
            "properties": {"id": {"type": "string"}},
            "required": ["id"],
            "additionalProperties": False,
        },
        problem="",
    )

    key: str = Field(description="To name it by.")
    name: str
    method: str
    path: str
    title: str
    description: str
    input_schema: dict[str, object]
    problem: str = Field(description="Why no tool can be made of it; empty: one can.")


# --- Servers ------------------------------------------------------------------------------------
@router.get("/tool-servers", response=list[ToolServerOut], summary="Tool servers")
@paginate(Page)
def list_tool_servers(
    request: AuthenticatedRequest, filters: Query[ToolServerFilter]
) -> QuerySet[ToolServer]:
    require_permission(request.auth.user, "chat.view_toolserver")
    rows = matching(ToolServer.objects.all(), kind=filters.kind, is_enabled=filters.is_enabled)
    return ordered(rows, filters.ordering)


@router.post("/tool-servers", response={201: ToolServerOut}, summary="Add a tool server")
@takes_idempotency_key
async def create_tool_server(
    request: AuthenticatedRequest, payload: ToolServerIn
) -> Status[object]:
    await in_database(require_permission, request.auth.user, "chat.add_toolserver")
    addresses = await tool_servers.addresses_for(payload.dict(exclude_unset=True))
    return await in_database(_create, request, payload, addresses)


@idempotent(ToolServerOut)
def _create(
    request: AuthenticatedRequest, payload: ToolServerIn, addresses: Addresses
) -> Status[object]:
    fields = payload.dict(exclude_unset=True)
    return Status(201, tool_servers.create(fields, addresses, request.auth.user))


@router.get("/tool-servers/{slug:name}", response=ToolServerOut, summary="One tool server")
def get_tool_server(request: AuthenticatedRequest, name: str) -> ToolServer:
    require_permission(request.auth.user, "chat.view_toolserver")
    return get_object_or_404(ToolServer, name=name)


@router.patch("/tool-servers/{slug:name}", response=ToolServerOut, summary="Change a tool server")
@takes_if_match
async def edit_tool_server(
    request: AuthenticatedRequest, name: str, payload: ToolServerPatch
) -> ToolServer:
    server = await in_database(_changeable, request, name)
    fields = payload.dict(exclude_unset=True)
    addresses = await tool_servers.addresses_for(fields, server)
    return await in_database(_edit, request, name, fields, addresses)


def _changeable(request: AuthenticatedRequest, name: str) -> ToolServer:
    require_permission(request.auth.user, "chat.change_toolserver")
    return get_object_or_404(ToolServer, name=name)


@if_match(ToolServerOut, get_tool_server)
def _edit(
    request: AuthenticatedRequest, name: str, fields: dict[str, object], addresses: Addresses
) -> ToolServer:
    server = _changeable(request, name)
    return tool_servers.change(server.pk, fields, addresses, request.auth.user)


@router.delete(
    "/tool-servers/{slug:name}",
    response={204: None},
    summary="Delete a tool server and its tools",
)
@if_match(ToolServerOut, get_tool_server)
def delete_tool_server(request: AuthenticatedRequest, name: str) -> Status[None]:
    require_permission(request.auth.user, "chat.delete_toolserver")
    get_object_or_404(ToolServer, name=name).delete()
    return Status(204, None)


# --- Their tools --------------------------------------------------------------------------------
@router.post(
    "/tool-servers/{slug:name}/refresh",
    operation_id="refresh_tool_server",
    response=ListingOut,
    summary="List the tools of an MCP server now",
    description="New tools are disabled. 409 with the reason where the server does not list them.",
)
async def refresh(request: AuthenticatedRequest, name: str) -> listing.Changes:
    server = await in_database(_changeable, request, name)
    if server.kind != ToolServerKind.MCP:
        raise because(Conflict, Reason("only_mcp_lists"))
    try:
        return await listing.refresh(server)
    except ToolFault as fault:
        raise ToolServerFailed(fault.message, params=fault.params) from None


@router.post(
    "/tool-servers/{slug:name}/operations",
    operation_id="read_openapi_operations",
    response=list[OperationOut],
    summary="The operations of an OpenAPI document, for a choice",
)
async def read_operations(
    request: AuthenticatedRequest, name: str, payload: OperationsIn
) -> list[Operation]:
    server = await in_database(_changeable, request, name)
    return await _operations(server, payload)


@router.post(
    "/tool-servers/{slug:name}/import",
    operation_id="import_openapi_operations",
    response=list[ToolOut],
    summary="Make disabled tools of operations of an OpenAPI document",
    description="A tool that was made of an operation before is brought up to date.",
)
async def import_operations(
    request: AuthenticatedRequest, name: str, payload: ImportIn
) -> list[Tool]:
    server = await in_database(_changeable, request, name)
    await in_database(require_permission, request.auth.user, "chat.add_tool")
    operations = await _operations(server, payload)
    return await in_database(tool_servers.import_operations, server, operations, payload.operations)


async def _operations(server: ToolServer, payload: OperationsIn) -> list[Operation]:
    """Read the operations of the document that is sent, or fetched. Raises InvalidRequest or
    ToolServerFailed."""
    document: object = payload.document
    field = "document"
    if (payload.document is None) == (payload.document_url is None):
        raise because(InvalidRequest, Reason("one_document"), field="document")
    if payload.document_url is not None:
        field = "document_url"
        try:
            document = await fetch_document(server, payload.document_url)
        except ToolFault as fault:
            raise ToolServerFailed(fault.message, field=field, params=fault.params) from None
    try:
        return operations_of(document)
    except DocumentError as error:
        raise because(InvalidRequest, error.reason, field=field) from None
