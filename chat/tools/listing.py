"""Lists the tools of MCP servers and stores what has changed.

New tools are disabled until staff enable them. A changed description or schema is noted, and a
vanished tool marked: staff see both.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from aily.concurrency.faults import surviving
from aily.database.rows import execute, fetch_column
from aily.database.threads import in_database
from aily.problems import Unavailable
from chat.llm.types import storable
from chat.models import Tool, ToolServer, ToolServerAuth
from chat.models.tool_fields import is_tool_name
from chat.models.tools import MAX_DESCRIPTION_BYTES
from chat.reasons import Reason
from chat.rendering.json_schema import SchemaRefusedError, check_bounds
from chat.structured.checking import UncheckedError, check_schema
from chat.tools.endpoints import endpoint_of
from chat.tools.names import function_name
from chat.tools.oauth_discovery import discover
from chat.tools.package import load_package
from chat.tools.results import ToolFault

if TYPE_CHECKING:
    from chat.tools.mcp_client import ListedTool, Listing

logger = logging.getLogger(__name__)

#: Longest time of one listing, over all its pages.
LIST_SECONDS = 30.0
#: When a listing that failed, or whose process died, is tried again.
RETRY_SECONDS = 60
#: Servers that one process lists at once.
MAX_AT_ONCE = 8
_MAX_TITLE_CHARS = 200
LONG_DESCRIPTION = Reason.of("long_description", limit=MAX_DESCRIPTION_BYTES)
_MAX_PROBLEM_CHARS = 500
#: Another process may take a function name meanwhile.
_TRIES = 3

#: Takes on the servers that are due; another process takes others.
_CLAIM_DUE = """
UPDATE chat_toolserver SET listing_since = now()
 WHERE id IN (
       SELECT id FROM chat_toolserver
        WHERE kind = 'mcp' AND is_enabled
          AND (listed_at IS NULL OR listed_at < now() - list_ttl_seconds * interval '1 second')
          AND (listing_since IS NULL OR listing_since < now() - %s * interval '1 second')
        ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED)
RETURNING id
"""


#: A list that was made a moment ago is not made again.
_NOTE_OUTDATED = """
UPDATE chat_toolserver SET listed_at = now() - list_ttl_seconds * interval '1 second'
 WHERE id = %s AND listed_at < now() - %s * interval '1 second'
   AND listed_at > now() - list_ttl_seconds * interval '1 second'
"""


@dataclass(frozen=True, slots=True)
class Changes:
    """What a listing has changed, by function name."""

    new: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    vanished: tuple[str, ...] = ()
    total: int = 0


async def refresh_due() -> int:
    """List the tools of servers whose lists are out of date. Returns how many there were."""
    claimed = await in_database(fetch_column, int, _CLAIM_DUE, [RETRY_SECONDS, MAX_AT_ONCE])
    await asyncio.gather(*(_refresh_claimed(pk) for pk in claimed))
    return len(claimed)


async def note_outdated(server: ToolServer) -> None:
    """Have a worker list a server's tools soon: it has refused a call of one that it had listed."""
    with surviving("noting an outdated list of tools"):
        await in_database(execute, _NOTE_OUTDATED, [server.pk, RETRY_SECONDS])


async def _refresh_claimed(pk: int) -> None:
    with surviving("listing tools"):
        server = await in_database(ToolServer.objects.filter(pk=pk).first)
        if server is None:
            return
        try:
            await refresh(server)
        except ToolFault as fault:
            logger.warning("tools of %s cannot be listed: %s", server.name, fault.message)


async def refresh(server: ToolServer) -> Changes:
    """List the tools of an MCP server now. Raises ToolFault, which is noted with the server."""
    await load_package()
    from chat.tools import mcp_client

    try:
        if await find_token_source(server):
            await in_database(_store_token_source, server)
        endpoint = endpoint_of(server)
        seconds = min(endpoint.timeout_seconds, LIST_SECONDS)
        listing = await mcp_client.list_tools(replace(endpoint, timeout_seconds=seconds))
    except ToolFault as fault:
        await in_database(_note_failure, server.pk, fault.message)
        raise
    problems = await _problems(server.pk, listing.tools)
    return await in_database(_store, server.pk, listing, problems)


async def find_token_source(server: ToolServer) -> bool:
    """Discover where the tokens of a server come from, if staff have not entered it.

    Sets the fields of `server`, and stores nothing. False: there is nothing to discover. Raises
    ToolFault.
    """
    if server.auth != ToolServerAuth.OAUTH or server.oauth_token_url:
        return False
    found = await discover(server.url, server.may_reach)
    server.oauth_token_url = found.token_url
    server.oauth_scope = server.oauth_scope or found.scope
    server.oauth_resource = server.oauth_resource or found.resource
    return True


def _store_token_source(server: ToolServer) -> None:
    """Store what was found, unless staff have entered something meanwhile. From now on it holds,
    whatever the server says: it is where the secret goes."""
    names = ("oauth_token_url", "oauth_scope", "oauth_resource")
    own = ToolServer.objects.filter(pk=server.pk, url=server.url, oauth_token_url="")
    own.update(**{name: getattr(server, name) for name in names})


def _note_failure(pk: int, message: str) -> None:
    ToolServer.objects.filter(pk=pk).update(list_error=message, listing_since=timezone.now())


# --- What is wrong with a tool ------------------------------------------------------------------
async def _problems(server_pk: int, tools: Iterable[ListedTool]) -> dict[str, str]:
    """Why tools cannot be offered, by name. Schemas that are stored already were checked before."""
    known = await in_database(_stored_schemas, server_pk)
    problems = {}
    for tool in tools:
        schemas = [tool.input_schema, tool.output_schema]
        if tool.name in known and known[tool.name][:2] == schemas:
            problem = known[tool.name][2]
        else:
            problem = await _problem(tool)
        if problem:
            problems[tool.name] = problem[:_MAX_PROBLEM_CHARS]
    return problems


def _stored_schemas(server_pk: int) -> dict[str, list[Any]]:
    rows = Tool.objects.filter(server=server_pk)
    columns = ("name", "input_schema", "output_schema", "problem")
    return {name: [*schemas] for name, *schemas in rows.values_list(*columns)}


async def _problem(tool: ListedTool) -> str:
    if tool.input_schema.get("type") != "object":
        return str(Reason("arguments_no_object"))
    if len(tool.description.encode(errors="replace")) > MAX_DESCRIPTION_BYTES:
        return str(LONG_DESCRIPTION)
    for schema in (tool.input_schema, tool.output_schema):
        if schema is None:
            continue
        if "\\u0000" in json.dumps(schema):
            return str(Reason("null_in_schemas"))
        try:
            check_bounds(schema)
            await check_schema(schema, 0)
        except (SchemaRefusedError, UncheckedError) as error:
            return str(error)
        except Unavailable:
            return str(Reason("unchecked_schemas"))
    return ""


# --- Storing ------------------------------------------------------------------------------------
def _store(server_pk: int, listing: Listing, problems: Mapping[str, str]) -> Changes:
    for tries_left in reversed(range(_TRIES)):
        try:
            with transaction.atomic():
                return _store_once(server_pk, listing, problems)
        except IntegrityError:
            if not tries_left:
                raise
    raise RuntimeError("unreachable")


def _store_once(server_pk: int, listing: Listing, problems: Mapping[str, str]) -> Changes:
    server = ToolServer.objects.select_for_update(no_key=True).filter(pk=server_pk).first()
    if server is None:  # deleted meanwhile
        return Changes()
    tools = {tool.name: tool for tool in listing.tools if is_tool_name(tool.name)}
    stored = {tool.name: tool for tool in server.tools.all()}
    new = _add(server, [tools[name] for name in tools if name not in stored], problems)
    changed = _update(server, stored, tools, problems)
    vanished = _mark_vanished(tool for name, tool in stored.items() if name not in tools)
    server.listed_at, server.listing_since = timezone.now(), None
    server.protocol_version = listing.protocol_version
    server.list_error = str(Reason("too_many_listed")) if listing.is_cut else ""
    # By `update`: nobody has changed the server, which its audit log would say.
    fields = ("listed_at", "listing_since", "protocol_version", "list_error")
    values = {name: getattr(server, name) for name in fields}
    ToolServer.objects.filter(pk=server.pk).update(**values)
    return Changes(tuple(new), tuple(changed), tuple(vanished), len(tools))


def _add(
    server: ToolServer, listed: Sequence[ListedTool], problems: Mapping[str, str]
) -> list[str]:
    if not listed:
        return []
    taken = set(Tool.objects.values_list("function_name", flat=True))
    rows = []
    for tool in listed:
        name = function_name(server.name, tool.name, taken)
        taken.add(name)
        row = Tool(server=server, name=tool.name, function_name=name)
        _take_over(row, tool, problems)
        rows.append(row)
    Tool.objects.bulk_create(rows)
    return [row.function_name for row in rows]


def _update(
    server: ToolServer,
    stored: Mapping[str, Tool],
    listed: Mapping[str, ListedTool],
    problems: Mapping[str, str],
) -> list[str]:
    changed = []
    for name, row in stored.items():
        if name not in listed:
            continue
        before, definition = _values(row), _definition(row)
        _take_over(row, listed[name], problems)
        row.vanished_at = None
        # What staff have made before the first listing is only completed by it.
        if _definition(row) != definition and server.listed_at is not None:
            # Until staff have reviewed the change, the version that they last reviewed is kept.
            row.previous = row.previous if row.changed_at else definition
            row.changed_at = row.changed_at or timezone.now()
            changed.append(row.function_name)
        if (values := _values(row)) != before:
            # By `update`: nobody has changed the tool, which its audit log would say.
            Tool.objects.filter(pk=row.pk).update(**values)
    return changed


def _values(row: Tool) -> dict[str, Any]:
    return {name: getattr(row, name) for name in _WRITTEN}


_WRITTEN = (
    "title", "description", "input_schema", "output_schema", "hints", "problem", "previous",
    "changed_at", "vanished_at",
)  # fmt: skip


def _mark_vanished(rows: Iterable[Tool]) -> list[str]:
    gone = [row for row in rows if row.vanished_at is None]
    Tool.objects.filter(pk__in=[row.pk for row in gone]).update(vanished_at=timezone.now())
    return [row.function_name for row in gone]


def _take_over(row: Tool, tool: ListedTool, problems: Mapping[str, str]) -> None:
    """Set what the server says. What cannot be offered is not stored at length."""
    row.problem = problems.get(tool.name, "")
    row.title = storable(tool.title)[:_MAX_TITLE_CHARS]
    row.hints = dict(list(tool.hints.items())[:20])
    if row.problem:
        return
    row.description = storable(tool.description)
    row.input_schema, row.output_schema = tool.input_schema, tool.output_schema


def _definition(row: Tool) -> dict[str, Any]:
    return {
        "description": row.description,
        "input_schema": row.input_schema,
        "output_schema": row.output_schema,
    }
