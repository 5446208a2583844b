"""The `mcp` package's client, over aily's own transport. No other module of the worker imports it,
and this one is imported with the first call or listing of an MCP server.

A call of a server of the current revision is one POST. With an earlier one it is a session of its
own: initialize, the call, and its end.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import anyio
import httpx2
from mcp import types
from mcp.client import Client, ClientSession
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.dispatcher import CallOptions
from mcp.shared.exceptions import MCPError
from mcp_types import (
    CLIENT_CAPABILITIES_META_KEY,
    HEADER_MISMATCH,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    UNSUPPORTED_PROTOCOL_VERSION,
)
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS
from pydantic import TypeAdapter

from chat.models.tools import MAX_TOOLS_OF_A_SERVER
from chat.tools.endpoints import Endpoint, credentials, forget_token, secrets_of
from chat.tools.exchange import ByteBudget
from chat.tools.forms import AskedForm, form_of
from chat.tools.mcp_transport import McpTransport
from chat.tools.results import AskedInput, Continuation, ToolErrorCode, ToolFault

T = TypeVar("T")
#: How a server is spoken to: "auto" asks it for its revision.
Mode = str
AUTO, LEGACY = "auto", "legacy"

#: What all responses of a call may have besides its result: progress, frames, the list of tools.
_OVERHEAD_BYTES = 1024 * 1024
#: A result is sent twice, as text and as structured content, and as JSON is longer than its text.
_COPIES = 4
#: Bytes of the list of tools, over all its pages.
_LIST_BYTES = 8 * 1024 * 1024
_MAX_PAGES = 50
_NOT_THE_PROTOCOL = "The tool's server does not answer as the Model Context Protocol asks for."
_ENDLESS_LIST = "The tool's server lists the same page of its tools again and again."
_BROKEN_OFF = (
    "The tool's server ended its answer in the middle: whether the call was carried out is not "
    "known."
)
_CLIENT = types.Implementation(name="aily", version="1")
_RESULT: TypeAdapter[types.CallToolResult | types.InputRequiredResult] = TypeAdapter(
    types.CallToolResult | types.InputRequiredResult
)

# They log what servers send, and every request.
logging.getLogger("mcp.client").setLevel(logging.CRITICAL)
logging.getLogger("client").setLevel(logging.CRITICAL)
logging.getLogger("httpx2").setLevel(logging.WARNING)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a tool has answered. `text` is not bounded yet."""

    text: str
    structured: Any
    is_error: bool


@dataclass(frozen=True, slots=True)
class ListedTool:
    name: str
    title: str
    description: str
    input_schema: dict[str, Any]
    output_schema: dict[str, Any] | None
    hints: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Listing:
    protocol_version: str
    tools: list[ListedTool]
    #: Tools beyond the bound of a server.
    is_cut: bool


@dataclass(frozen=True, slots=True)
class ToolCallRequest:
    """`is_repeatable`: a call whose outcome is not known may be made again. `leave`, which is asked
    once the session stands, raises ToolFault where the call may not be made any more."""

    name: str
    arguments: dict[str, Any]
    input_schema: dict[str, Any]
    is_repeatable: bool
    leave: Callable[[], Awaitable[None]]
    continuation: Continuation | None = None


def mode_of(protocol_version: str) -> Mode:
    """How a server is spoken to whose revision is known; empty: it is not."""
    if protocol_version in MODERN_PROTOCOL_VERSIONS:
        return protocol_version
    return LEGACY if protocol_version in HANDSHAKE_PROTOCOL_VERSIONS else AUTO


async def call(endpoint: Endpoint, mode: Mode, request: ToolCallRequest) -> Answer | AskedInput:
    """Make one call. Raises ToolFault.

    A server that has changed its revision is asked for it, as it then carried nothing out.
    """
    limit = _OVERHEAD_BYTES + _COPIES * endpoint.max_result_bytes

    async def work(client: Client) -> Answer | AskedInput:
        return await _call_tool(client, request)

    connection = _Connection(endpoint, ByteBudget(limit), is_repeatable=request.is_repeatable)
    return await connection.run(mode, work)


async def list_tools(endpoint: Endpoint) -> Listing:
    """Ask a server for its tools. Raises ToolFault."""
    connection = _Connection(endpoint, ByteBudget(_LIST_BYTES), is_repeatable=True)
    return await connection.run(AUTO, _list_tools)


# --- What is asked ------------------------------------------------------------------------------
async def _call_tool(client: Client, request: ToolCallRequest) -> Answer | AskedInput:
    session = client.session
    if "x-mcp-header" in json.dumps(request.input_schema):
        # Such arguments go into headers as well, which the session reads off a list of tools.
        listed = types.Tool(name=request.name, input_schema=request.input_schema)
        session._absorb_tool_listing(types.ListToolsResult(tools=[listed]), complete=False)  # noqa: SLF001
    if session.discover_result is not None:
        _offer_forms(session)
    params = types.CallToolRequestParams(
        name=request.name, arguments=request.arguments, **_continued(request.continuation)
    )
    await request.leave()
    # Not `call_tool`, which lists the tools first, and checks results without a bound of its work.
    result = await session.send_request(types.CallToolRequest(params=params), _RESULT)
    if isinstance(result, types.InputRequiredResult):
        return _asked(result)
    return Answer(_text_of(result), result.structured_content, result.is_error)


def _offer_forms(session: ClientSession) -> None:
    """Declare with each request that users can be asked by forms. The package's own declaration
    offers addresses to be visited as well. Servers of earlier revisions get no such capability."""
    stamp = session._stamp  # noqa: SLF001

    def stamped(data: dict[str, Any], options: CallOptions) -> None:
        stamp(data, options)
        data["params"]["_meta"][CLIENT_CAPABILITIES_META_KEY] = {"elicitation": {"form": {}}}

    session._stamp = stamped  # noqa: SLF001


def _continued(continuation: Continuation | None) -> dict[str, Any]:
    if continuation is None:
        return {}
    responses = {
        key: types.ElicitResult.model_validate(response)
        for key, response in continuation.responses.items()
    }
    return {"input_responses": responses, "request_state": continuation.state}


def _asked(result: types.InputRequiredResult) -> AskedInput:
    """Raises ToolFault for what users cannot be asked."""
    forms: dict[str, AskedForm] = {}
    for key, request in (result.input_requests or {}).items():
        params = request.params
        if not isinstance(params, types.ElicitRequestFormParams):
            raise _asks_for_input()
        forms[key] = AskedForm(params.message, params.requested_schema)
    return form_of(forms, result.request_state)


def _asks_for_input() -> ToolFault:
    return ToolFault(
        ToolErrorCode.INPUT_REQUIRED,
        "The tool asks for input in the middle of the call that aily cannot ask its user for.",
    )


def _text_of(result: types.CallToolResult) -> str:
    texts = [_text_of_block(block) for block in result.content]
    if not texts and result.structured_content is not None:
        return json.dumps(result.structured_content, ensure_ascii=False)
    return "\n".join(texts)


def _text_of_block(block: types.ContentBlock) -> str:
    match block:
        case types.TextContent():
            return block.text
        case types.ImageContent() | types.AudioContent():
            return f"[{block.type}: {block.mime_type}, {len(block.data) * 3 // 4} bytes, not shown]"
        case types.ResourceLink():
            return f"[resource: {block.name}, {block.uri}]"
        case types.EmbeddedResource(resource=types.TextResourceContents() as resource):
            return resource.text
        case _:
            return f"[{block.type}: not shown]"


async def _list_tools(client: Client) -> Listing:
    tools: list[ListedTool] = []
    cursor: str | None = None
    cursors: set[str | None] = {None}
    for _ in range(_MAX_PAGES):
        params = types.PaginatedRequestParams(cursor=cursor)
        page = await client.session.list_tools(params=params)
        tools += map(_listed, page.tools)
        cursor = page.next_cursor
        if cursor is None or len(tools) > MAX_TOOLS_OF_A_SERVER:
            break
        if cursor in cursors:
            raise ToolFault(ToolErrorCode.INVALID_RESPONSE, _ENDLESS_LIST)
        cursors.add(cursor)
    is_cut = cursor is not None or len(tools) > MAX_TOOLS_OF_A_SERVER
    return Listing(client.protocol_version, tools[:MAX_TOOLS_OF_A_SERVER], is_cut)


def _listed(tool: types.Tool) -> ListedTool:
    hints = (
        tool.annotations.model_dump(by_alias=True, exclude_none=True) if tool.annotations else {}
    )
    return ListedTool(
        name=tool.name,
        title=tool.title or str(hints.pop("title", "")),
        description=tool.description or "",
        input_schema=tool.input_schema,
        output_schema=tool.output_schema,
        hints={name: value for name, value in hints.items() if isinstance(value, bool)},
    )


# --- The connection -----------------------------------------------------------------------------
@dataclass(slots=True)
class _Connection:
    """One piece of work with a server, within its time and bytes."""

    endpoint: Endpoint
    budget: ByteBudget
    is_repeatable: bool

    async def run(self, mode: Mode, work: Callable[[Client], Awaitable[T]]) -> T:
        """Connect, and return what `work` does. Raises ToolFault."""
        timeout_seconds = self.endpoint.timeout_seconds
        with anyio.move_on_after(timeout_seconds):
            return await self._run_twice(mode, work)
        raise ToolFault(
            ToolErrorCode.TIMEOUT, f"The tool did not answer within {timeout_seconds:g} s."
        )

    async def _run_twice(self, mode: Mode, work: Callable[[Client], Awaitable[T]]) -> T:
        """Try again where the first try was refused before anything was carried out."""
        try:
            return await self._run_once(mode, work)
        except _TokenRefusedError:
            next_mode = mode
        except _WrongRevisionError as error:
            if mode == AUTO:
                raise error.fault from None
            next_mode = AUTO
        try:
            return await self._run_once(next_mode, work)
        except _RefusedError as error:
            raise error.fault from None

    async def _run_once(self, mode: Mode, work: Callable[[Client], Awaitable[T]]) -> T:
        headers = await credentials(self.endpoint)
        found: list[T] = []
        with anyio.CancelScope() as scope:
            transport = McpTransport(
                self.endpoint,
                self.budget,
                headers,
                scope.cancel,
                is_repeatable=self.is_repeatable,
            )
            try:
                async with (
                    httpx2.AsyncClient(transport=transport, timeout=None) as http,
                    Client(
                        streamable_http_client(
                            self.endpoint.url, http_client=http, max_sse_event_size=None
                        ),
                        mode=mode,
                        client_info=_CLIENT,
                        cache=None,
                    ) as client,
                ):
                    found.append(await work(client))
            except Exception as error:  # noqa: BLE001 - judged
                # Once there is an answer, how the session ends is of no matter.
                if not found:
                    raise self._judged(error, transport, mode) from None
        if found:
            return found[0]
        # A fault has cancelled the scope.
        raise self._judged(None, transport, mode)

    def _judged(
        self, error: Exception | None, transport: McpTransport, mode: Mode
    ) -> ToolFault | _RefusedError:
        """What an error of the package means."""
        own = _first(error, ToolFault)
        if own is not None and transport.fault is None:
            return own
        protocol = _first(error, MCPError)
        if transport.status == 401 and forget_token(self.endpoint):
            return _TokenRefusedError(_refused_credentials(401))
        fault = transport.fault or transport.broken or _fault_of(protocol, transport.status)
        fault = fault.without(secrets_of(self.endpoint))
        is_other_revision = (
            mode != AUTO and protocol is not None and _is_other_revision(protocol, transport.status)
        )
        return _WrongRevisionError(fault) if is_other_revision else fault


class _RefusedError(Exception):
    """The server has carried nothing out: it may be asked in another way."""

    def __init__(self, fault: ToolFault) -> None:
        super().__init__()
        self.fault = fault


class _TokenRefusedError(_RefusedError):
    pass


class _WrongRevisionError(_RefusedError):
    pass


def _first(error: BaseException | None, wanted: type[T]) -> T | None:
    """The first error of a class in a tree of groups."""
    if isinstance(error, wanted):
        return error
    if isinstance(error, BaseExceptionGroup):
        return next((found for part in error.exceptions if (found := _first(part, wanted))), None)
    return None


def _is_other_revision(error: MCPError, status: int) -> bool:
    code = error.error.code
    if code in (UNSUPPORTED_PROTOCOL_VERSION, METHOD_NOT_FOUND):
        return True
    return status in (400, 404, 405) and code not in (HEADER_MISMATCH, INVALID_PARAMS)


def _refused_credentials(status: int) -> ToolFault:
    return ToolFault(
        ToolErrorCode.AUTH, f"The tool's server refuses aily's credentials (HTTP {status})."
    )


def _fault_of(error: MCPError | None, status: int) -> ToolFault:
    if status in (401, 403):
        return _refused_credentials(status)
    if error is None or error.error.code == types.PARSE_ERROR:
        return ToolFault(ToolErrorCode.INVALID_RESPONSE, _NOT_THE_PROTOCOL)
    if status >= 400 and error.error.code == INTERNAL_ERROR:
        return ToolFault(ToolErrorCode.HTTP_ERROR, f"The tool's server answers with HTTP {status}.")
    if error.error.code == types.MISSING_REQUIRED_CLIENT_CAPABILITY:
        return _asks_for_input()
    if error.error.code == types.CONNECTION_CLOSED:
        return ToolFault(ToolErrorCode.TRUNCATED, _BROKEN_OFF)
    said = error.error.message
    return ToolFault(ToolErrorCode.REFUSED, f"The tool's server refuses the call: {said}")
