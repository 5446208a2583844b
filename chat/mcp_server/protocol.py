"""The `mcp` package's server, with aily's handlers. No other module of the web process imports it.

It wants a lifespan, which daphne has not: a task of each event loop stays inside its `run()`. Of
its transport only the stateless part is used. Sessions, GET and the earlier revisions' cancelling
are those of chat/mcp_server/endpoint.py, as they have to work across processes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, cast

from django.conf import settings
from mcp import types
from mcp.server import Server
from mcp.server.caching import CacheHint
from mcp.server.context import ServerRequestContext
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.shared.exceptions import MCPError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from aily.concurrency.loops import close_with_loop, per_loop
from aily.database.threads import in_database
from aily.problems import Problem
from chat.mcp_server import extension
from chat.mcp_server.calls import Call, call_tool
from chat.mcp_server.errors import HEADER_MISMATCH, MISSING_CAPABILITY, RPCError
from chat.mcp_server.extension import TASKS_EXTENSION
from chat.mcp_server.progress import Report
from chat.mcp_server.results import Result
from chat.mcp_server.running_calls import CallId
from chat.mcp_server.tools import SceneTool, has_legacy_output, load_page
from chat.openai.callers import Caller

__all__ = ["SCOPE_KEY", "ClientRequest", "get_manager"]

#: Key of the ASGI scope with a ClientRequest.
SCOPE_KEY = "aily.mcp"
#: How long a client may keep its list of tools.
_TOOLS_MILLISECONDS = 60_000
_INSTRUCTIONS = (
    "Each tool is a prompt that a language model answers; a call may wait in a queue. A result "
    "names its task in _meta. get_task looks at a task, and cancel_task stops it."
)

Context = ServerRequestContext[Any, Any]


@dataclass(frozen=True, slots=True)
class ClientRequest:
    """Context of a request, from the endpoint for the handlers."""

    caller: Caller
    #: Empty: the client keeps no session.
    session: str
    #: The scene of the tool that is called, where the caller may use it.
    tool: SceneTool | None


#: The schema of the tool that this request calls: the package compares headers with it.
_input_schema: ContextVar[dict[str, Any] | None] = ContextVar("mcp_input_schema", default=None)


class TaskParams(types.RequestParams):
    """Parameters of the tasks extension's methods; further ones are ignored."""

    task_id: str
    #: Of `tasks/update`: answers by the keys of the questions.
    input_responses: dict[str, Any] | None = None


# --- Handlers -----------------------------------------------------------------------------------
def _client(ctx: Context) -> ClientRequest:
    return cast("ClientRequest", _http_request(ctx).scope[SCOPE_KEY])


def _http_request(ctx: Context) -> Request:
    return cast("Request", ctx.request)


def _is_modern(ctx: Context) -> bool:
    return ctx.protocol_version in MODERN_PROTOCOL_VERSIONS


async def _translated(work: Awaitable[Result]) -> Result:
    """Await `work`, its errors as the package's."""
    try:
        return await work
    except RPCError as error:
        raise MCPError(error.code, error.message, error.data) from None
    except Problem as problem:
        found = RPCError.of(problem)
        raise MCPError(found.code, found.message, found.data) from None


async def _list_tools(ctx: Context, params: types.PaginatedRequestParams | None) -> Any:
    cursor = params.cursor if params is not None else None
    return await _translated(
        _page(_client(ctx).caller.owner_id, cursor, is_legacy=not _is_modern(ctx))
    )


async def _page(owner_id: int, cursor: str | None, *, is_legacy: bool) -> Result:
    tools, next_cursor = await in_database(load_page, owner_id, cursor)
    if is_legacy:
        tools = [_legacy(tool) for tool in tools]
    page: Result = {"tools": tools, "resultType": "complete"}
    if next_cursor is not None:
        page["nextCursor"] = next_cursor
    return page


def _legacy(tool: dict[str, Any]) -> dict[str, Any]:
    """Without a schema of results that earlier revisions do not know."""
    if "outputSchema" not in tool or has_legacy_output(tool["outputSchema"]):
        return tool
    return {name: value for name, value in tool.items() if name != "outputSchema"}


async def _call_tool(ctx: Context, params: types.CallToolRequestParams) -> Any:
    client = _client(ctx)
    is_modern = _is_modern(ctx)
    call = Call(
        caller=client.caller,
        name=params.name,
        arguments=params.arguments or {},
        tool=client.tool,
        legacy_id=None if is_modern else _call_id(client, ctx),
        takes_task=is_modern and _knows_tasks(ctx),
        report=_report(ctx),
        asks_user=is_modern and _asks_user(ctx),
        state=params.request_state if is_modern else None,
        answers={
            key: given.model_dump(by_alias=True, exclude_none=True)
            for key, given in (params.input_responses or {}).items()
        },
    )
    return await _translated(call_tool(call))


def _asks_user(ctx: Context) -> bool:
    """Whether the client shows its user forms; one that says no more than "elicitation" does."""
    capabilities = ctx.session.client_capabilities
    elicitation = capabilities.elicitation if capabilities is not None else None
    return elicitation is not None and (elicitation.form is not None or elicitation.url is None)


def _call_id(client: ClientRequest, ctx: Context) -> CallId:
    return CallId(client.caller.api_key_id, client.session, cast("int | str", ctx.request_id))


def _report(ctx: Context) -> Report | None:
    if not ctx.meta or ctx.meta.get("progress_token") is None:
        return None

    async def report(progress: float, message: str) -> None:
        await ctx.session.report_progress(progress, message=message)

    return report


# --- The tasks extension ------------------------------------------------------------------------
def _knows_tasks(ctx: Context) -> bool:
    capabilities = ctx.session.client_capabilities
    known = capabilities.extensions if capabilities is not None else None
    return TASKS_EXTENSION in (known or {})


def _method_of_tasks(
    run: Callable[[Caller, TaskParams], Coroutine[None, None, Result]],
) -> Callable[[Context, TaskParams], Awaitable[Any]]:
    async def handle(ctx: Context, params: TaskParams) -> Any:
        if not _knows_tasks(ctx):
            needed: Result = {"requiredCapabilities": {"extensions": {TASKS_EXTENSION: {}}}}
            message = f"Declare the extension {TASKS_EXTENSION}."
            raise MCPError(MISSING_CAPABILITY, message, needed)
        if _http_request(ctx).headers.get("mcp-name") != params.task_id:
            raise MCPError(HEADER_MISMATCH, "The header Mcp-Name must be the taskId.")
        return await _translated(run(_client(ctx).caller, params))

    return handle


async def _get_task(caller: Caller, params: TaskParams) -> Result:
    return await extension.get_task(caller, params.task_id)


async def _update_task(caller: Caller, params: TaskParams) -> Result:
    return await extension.update_task(caller, params.task_id, params.input_responses)


async def _cancel_task(caller: Caller, params: TaskParams) -> Result:
    return await extension.cancel_task(caller, params.task_id)


def _make_server() -> Server[Any]:
    server: Server[Any] = Server(
        "aily",
        title="aily",
        version="1",
        instructions=_INSTRUCTIONS,
        cache_hints={"tools/list": CacheHint(ttl_ms=_TOOLS_MILLISECONDS, scope="private")},
        get_tool_input_schema=lambda _: _input_schema.get(),
        on_list_tools=_list_tools,
        on_call_tool=_call_tool,
    )
    # aily has spans of its own.
    server.middleware.clear()
    server.extensions[TASKS_EXTENSION] = {}
    methods = {
        "tasks/get": _get_task,
        "tasks/update": _update_task,
        "tasks/cancel": _cancel_task,
    }
    for method, run in methods.items():
        server.add_request_handler(method, TaskParams, _method_of_tasks(run))
    return server


# --- Running ------------------------------------------------------------------------------------
class Manager:
    """The package's request handling of one event loop."""

    def __init__(self) -> None:
        self._sessions = StreamableHTTPSessionManager(
            _make_server(),
            stateless=True,
            max_request_body_size=settings.REQUEST_MAX_BYTES,
        )
        self._is_ready = asyncio.Event()
        self._running = asyncio.create_task(self._run())
        close_with_loop(self._aclose)

    async def _run(self) -> None:
        async with self._sessions.run():
            self._is_ready.set()
            await asyncio.get_running_loop().create_future()

    async def _aclose(self) -> None:
        self._running.cancel()
        await asyncio.wait([self._running])

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request whose scope has a ClientRequest."""
        await self._is_ready.wait()
        tool: SceneTool | None = scope[SCOPE_KEY].tool
        _input_schema.set(tool.input_schema if tool is not None else None)
        await self._sessions.handle_request(scope, receive, send)


get_manager = per_loop(Manager)
