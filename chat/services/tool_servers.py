"""Saving tool servers and tools: which addresses calls and secrets may be sent to.

As with providers, addresses are checked here so that an error comes at once; the check that counts
is that of each connection.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from accounts.models import User
from aily.problems import Conflict, Forbidden, InvalidRequest
from chat.exceptions import InvalidTemplate, because
from chat.models import Tool, ToolServer, ToolServerKind
from chat.reasons import Reason
from chat.services import rendering
from chat.services.providers import Addresses, check_reach, fields_differ, origin_of, resolve
from chat.tools.names import function_name
from chat.tools.openapi_operations import Operation

#: Fields that decide which host sees what is sent.
ADDRESS_FIELDS = ("url", "oauth_token_url")
#: Tools that one import makes.
MAX_IMPORTED = 200
_TRIES = 3


# --- Servers ------------------------------------------------------------------------------------
def assign(server: ToolServer, fields: Mapping[str, Any], actor: User) -> None:
    """Set fields of an unsaved server, `secret` among them.

    Raises ValidationError, or Forbidden where a superuser is asked for.
    """
    before = copy(server)
    for name in fields.keys() - {"secret", "public_only"}:
        setattr(server, name, fields[name])
    _require_secret_again(before, server, fields, actor)
    server.public_only = _public_only(before, server, fields, actor)
    if "secret" in fields:
        server.set_secret(fields["secret"])
    if before.pk and fields_differ(before, server, "url", "kind"):
        # What is known of its revision is another server's.
        server.protocol_version, server.listed_at = "", None


def create(fields: Mapping[str, Any], addresses: Addresses, actor: User) -> ToolServer:
    """Store a new server. Raises ValidationError."""
    server = ToolServer()
    assign(server, fields, actor)
    server.full_clean()
    check_addresses(server, addresses)
    server.save(force_insert=True)
    return server


def change(pk: int, fields: Mapping[str, Any], addresses: Addresses, actor: User) -> ToolServer:
    """Change fields of a server. Raises ValidationError, Conflict, Forbidden or
    ToolServer.DoesNotExist."""
    with transaction.atomic():
        server = ToolServer.objects.select_for_update(no_key=True).get(pk=pk)
        if fields.get("kind", server.kind) != server.kind and server.tools.exists():
            raise Conflict(_("A server that has tools keeps its kind."))
        assign(server, fields, actor)
        server.full_clean()
        if fields.keys() & {*ADDRESS_FIELDS, "public_only"}:
            check_addresses(server, addresses)
        server.save()
    return server


def check_addresses(server: ToolServer, addresses: Addresses) -> None:
    """Raise ValidationError where calls of the server would be refused their connection."""
    for field in ADDRESS_FIELDS:
        check_reach(server, field, addresses)


async def addresses_for(
    fields: Mapping[str, object], server: ToolServer | None = None
) -> Addresses:
    """The addresses that saving these fields has to judge; none where it need not."""
    if server is not None and not fields.keys() & {*ADDRESS_FIELDS, "public_only"}:
        return {}
    urls = [fields.get(name, getattr(server, name, "")) for name in ADDRESS_FIELDS]
    return await resolve([url for url in urls if isinstance(url, str)])


def _public_only(
    before: ToolServer, server: ToolServer, fields: Mapping[str, Any], actor: User
) -> bool:
    is_moved = fields_differ(before, server, *ADDRESS_FIELDS)
    wanted = fields.get("public_only")
    if actor.is_superuser:
        return bool(wanted) if wanted is not None else before.public_only and not is_moved
    if wanted is False and before.public_only:
        raise Forbidden(_("Only a superuser may let a tool server be at a private address."))
    return before.public_only or is_moved or bool(wanted)


def _require_secret_again(
    before: ToolServer, server: ToolServer, fields: Mapping[str, Any], actor: User
) -> None:
    """Raise ValidationError where the secret would go to another host than it was given for: an
    editor could have it sent to a host of their own."""
    moved = [
        name
        for name in ADDRESS_FIELDS
        if origin_of(getattr(before, name)) != origin_of(getattr(server, name))
    ]
    if actor.is_superuser or not moved or not before.has_secret or "secret" in fields:
        return
    message = _("Where %(field)s changes, give this anew: it was stored for another.")
    raise ValidationError({"secret": message % {"field": moved[0]}})


# --- Tools --------------------------------------------------------------------------------------
def import_operations(
    server: ToolServer, operations: Sequence[Operation], keys: Sequence[str]
) -> list[Tool]:
    """Make disabled tools of these operations. One that the server has already is brought up to
    date. Raises InvalidRequest, which names the operation, or ValidationError."""
    if server.kind != ToolServerKind.HTTP:
        raise because(InvalidRequest, Reason("operations_of_http"), field="server")
    by_key = {operation.key: operation for operation in operations}
    chosen = []
    for index, key in enumerate(keys):
        field = f"operations.{index}"
        if key not in by_key:
            missing = Reason.of("no_such_operation", name=repr(key[:200]))
            raise because(InvalidRequest, missing, field=field)
        if reason := by_key[key].refused_for:
            raise because(InvalidRequest, reason, field=field)
        chosen.append(by_key[key])
    for tries_left in reversed(range(_TRIES)):
        try:
            with transaction.atomic():
                return [_import(server, operation) for operation in chosen]
        except IntegrityError:
            # Another process has taken a name meanwhile.
            if not tries_left:
                raise
    raise RuntimeError("unreachable")


def _import(server: ToolServer, operation: Operation) -> Tool:
    tool = server.tools.filter(name=operation.name).first()
    if tool is None:
        name = free_function_name(server, operation.name)
        tool = Tool(server=server, name=operation.name, function_name=name)
    for name in ("title", "description", "method", "path", "input_schema", "parameters"):
        setattr(tool, name, getattr(operation, name))
    tool.full_clean()
    tool.save()
    return tool


def free_function_name(server: ToolServer, name: str) -> str:
    """A function name for a new tool that no other has."""
    taken = set(Tool.objects.values_list("function_name", flat=True))
    return function_name(server.name, name, taken)


def check_schemas(fields: Mapping[str, Any], author: User) -> None:
    """Check the schemas that staff give for a tool. Raises InvalidRequest, which names the field.

    May wait for another process: TooManyRenderings or Unavailable besides.
    """
    arguments = fields.get("input_schema")
    if arguments and arguments.get("type") != "object":
        raise because(InvalidRequest, Reason("not_object_schema"), field="input_schema")
    for name in ("input_schema", "output_schema"):
        if not fields.get(name):
            continue
        try:
            rendering.check_output_schema(fields[name], author.pk)
        except InvalidTemplate as problem:
            raise InvalidRequest(problem.message, field=name, params=problem.params) from None
