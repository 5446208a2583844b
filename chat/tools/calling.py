"""One call of a tool, from its arguments to the result for the model."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import msgspec

from aily.observability import tracing
from aily.problems import Unavailable
from chat.models import Tool, ToolServerKind
from chat.observability import metrics
from chat.reasons import Reason
from chat.structured.checking import UncheckedError, check_answer
from chat.tools import http_service
from chat.tools.endpoints import Endpoint, endpoint_of, secrets_of
from chat.tools.listing import note_outdated
from chat.tools.package import load_package
from chat.tools.results import (
    AskedInput,
    Continuation,
    NoSlotError,
    ToolErrorCode,
    ToolFault,
    ToolResult,
    bounded,
    without_secrets,
)
from chat.tools.slots import slot

__all__ = ["Continuation", "NoSlotError", "ToolResult", "call_tool", "check_arguments", "misfit"]

logger = logging.getLogger(__name__)

#: Bytes of the arguments of one call, as JSON.
MAX_ARGUMENTS_BYTES = 1024 * 1024


async def call_tool(
    tool: Tool,
    arguments: dict[str, Any],
    *,
    call_id: str,
    owner_id: int = 0,
    continuation: Continuation | None = None,
    may_begin: Callable[[], Awaitable[bool]] | None = None,
) -> ToolResult:
    """Make one call of a tool, whose server is loaded. No database connection is held meanwhile.

    Whatever its server does becomes a result that says so. Raises NoSlotError alone, before
    anything was sent, where all slots of the server are in use. `call_id` is the same when a call
    is made again; `owner_id`: whose turn it is where arguments take long to be checked;
    `continuation`: what the user has answered to the tool's question; `may_begin`: asked when
    nothing but the call itself is left to do.
    """
    began = time.monotonic()
    with tracing.span("execute_tool", kind="client", **_attributes(tool, call_id)) as span:
        result = await _result(tool, arguments, call_id, owner_id, continuation, may_begin)
        result = replace(result, duration_seconds=time.monotonic() - began)
        if span is not None and result.is_error and result.asked is None:
            span.set_attribute("error.type", result.code)
    outcome = result.code or "answered"
    metrics.tool_calls(tool.server.name, tool.function_name, outcome).inc()
    metrics.tool_call_seconds(tool.server.name).observe(result.duration_seconds)
    return result


def _attributes(tool: Tool, call_id: str) -> dict[str, Any]:
    return {
        "gen_ai__operation__name": "execute_tool",
        "gen_ai__tool__name": tool.function_name,
        "gen_ai__tool__call__id": call_id,
        "aily__tool__server": tool.server.name,
    }


async def _result(
    tool: Tool,
    arguments: dict[str, Any],
    call_id: str,
    owner_id: int,
    continuation: Continuation | None,
    may_begin: Callable[[], Awaitable[bool]] | None,
) -> ToolResult:
    try:
        _require_offered(tool)
        await check_arguments(tool, arguments, owner_id)
        endpoint = endpoint_of(tool.server)
        async with slot(tool.server, call_id):
            leave = partial(_require_leave, tool, may_begin)
            result = await _call(tool, endpoint, arguments, call_id, continuation, leave)
        result = without_secrets(result, secrets_of(endpoint))
        await _check_structured(tool, result, owner_id)
        return bounded(result, endpoint.max_result_bytes)
    except ToolFault as fault:
        if fault.code == ToolErrorCode.REFUSED:
            await note_outdated(tool.server)
        return fault.as_result()
    except NoSlotError:
        raise
    except Exception:
        logger.exception("a call of the tool %s failed", tool.function_name)
        return ToolFault(ToolErrorCode.INTERNAL, "The call failed within aily.").as_result()


def _require_offered(tool: Tool) -> None:
    if tool.vanished_at is not None:
        message = f"The tool's server does not have {tool.function_name} any more."
        raise ToolFault(ToolErrorCode.UNAVAILABLE, message)
    if not tool.is_offered:
        raise _unavailable(tool)


async def _require_leave(tool: Tool, may_begin: Callable[[], Awaitable[bool]] | None) -> None:
    if may_begin is not None and not await may_begin():
        raise _unavailable(tool)


def _unavailable(tool: Tool) -> ToolFault:
    message = f"{tool.function_name} is not available now."
    return ToolFault(ToolErrorCode.UNAVAILABLE, message)


async def _call(
    tool: Tool,
    endpoint: Endpoint,
    arguments: dict[str, Any],
    call_id: str,
    continuation: Continuation | None,
    leave: Callable[[], Awaitable[None]],
) -> ToolResult:
    """Make a call by the protocol of its server. Raises ToolFault."""
    if tool.server.kind == ToolServerKind.HTTP:
        answer = await http_service.call(endpoint, tool, arguments, call_id, leave)
        return ToolResult(answer.text, answer.structured)
    await load_package()
    from chat.tools import mcp_client

    request = mcp_client.ToolCallRequest(
        tool.name,
        arguments,
        tool.input_schema,
        is_repeatable=tool.is_idempotent,
        leave=leave,
        continuation=continuation,
    )
    found = await mcp_client.call(
        endpoint, mcp_client.mode_of(tool.server.protocol_version), request
    )
    if isinstance(found, AskedInput):
        return ToolResult("", is_error=True, code=ToolErrorCode.INPUT_REQUIRED, asked=found)
    code = ToolErrorCode.TOOL_ERROR if found.is_error else ""
    return ToolResult(found.text, found.structured, is_error=found.is_error, code=code)


# --- Checks against schemas ---------------------------------------------------------------------
async def check_arguments(tool: Tool, arguments: dict[str, Any], owner_id: int = 0) -> None:
    """Check arguments by the tool's input schema. Raises ToolFault, whose message says what does
    not fit, and is for the model or the user."""
    try:
        encoded = msgspec.json.encode(arguments)
    except (TypeError, ValueError, RecursionError):
        raise _invalid("they are no JSON", {"rule": "not_json"}) from None
    if len(encoded) > MAX_ARGUMENTS_BYTES:
        params: dict[str, str | float] = {"rule": "more_bytes", "limit": MAX_ARGUMENTS_BYTES}
        raise _invalid(f"they have more than {MAX_ARGUMENTS_BYTES} bytes", params)
    if problem := await misfit(tool.input_schema, encoded.decode(), owner_id):
        raise _invalid(problem.text, problem.params)


def _invalid(problem: str, params: Mapping[str, str | float]) -> ToolFault:
    message = f"The arguments do not fit the tool: {problem}."
    return ToolFault(ToolErrorCode.INVALID_ARGUMENTS, message, params)


async def _check_structured(tool: Tool, result: ToolResult, owner_id: int) -> None:
    """Raises ToolFault where a structured result does not fit the tool's output schema."""
    if not tool.output_schema or result.structured is None or result.is_error:
        return
    text = msgspec.json.encode(result.structured).decode()
    if problem := await misfit(tool.output_schema, text, owner_id):
        raise ToolFault(
            ToolErrorCode.INVALID_RESULT,
            f"The tool's result does not fit what its server promises: {problem.text}.",
        )


class SchemaViolation(NamedTuple):
    """Why a JSON text does not fit a schema. `params` are those of the first error."""

    text: str
    params: Mapping[str, str | float]


async def misfit(schema: dict[str, Any], text: str, owner_id: int) -> SchemaViolation | None:
    """Why a JSON text does not fit a schema; None if it does. Its work has a bound."""
    if not schema:
        return None
    try:
        checked = await check_answer(schema, text, owner_id)
    except (UncheckedError, Unavailable) as error:
        reason = Reason.of("arguments_unchecked", detail=error)
        return SchemaViolation(f"they cannot be checked: {error}".rstrip("."), reason.as_params())
    if not checked.errors:
        return None
    return SchemaViolation("; ".join(error.rstrip(".") for error in checked.errors), checked.params)
