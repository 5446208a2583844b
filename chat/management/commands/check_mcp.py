"""Asks each tool server what it offers, as workers would."""

from __future__ import annotations

import asyncio

from django.core.management.base import CommandError, CommandParser

from aily.management.operator_command import OperatorCommand
from chat.models import ToolServer, ToolServerKind
from chat.tools.endpoints import credentials, endpoint_of
from chat.tools.exchange import check_connection
from chat.tools.listing import find_token_source
from chat.tools.results import ToolFault


class Command(OperatorCommand):
    help = (
        "Ask each enabled tool server for its tools: whether it can be reached, takes aily's "
        "credentials, and which revision of the Model Context Protocol it speaks. No tool is "
        "called, and nothing is stored. Exits with 1 when one fails."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("server", nargs="?", help="only this server, also if it is disabled")

    def handle(self, *, server: str | None, **options: object) -> None:
        servers = ToolServer.objects.filter(
            **({"name": server} if server else {"is_enabled": True})
        )
        found = list(servers)
        if server and not found:
            raise CommandError(f"There is no tool server {server!r}.")
        if not found:
            self.stdout.write("There are no enabled tool servers.")
        checks = [self._check(row) for row in found]
        if not all(checks):
            raise CommandError("Not every tool server can be used.")

    def _check(self, server: ToolServer) -> bool:
        try:
            lines = asyncio.run(_check_now(server))
        except ToolFault as fault:
            self.stdout.write(f"{server.name}: {fault.code}: {fault.message}")
            return False
        known = dict(server.tools.values_list("name", "is_enabled"))
        for line, name in lines:
            state = "" if name is None else _state(known.get(name))
            self.stdout.write(f"{server.name}: {line}{state}")
        return True


def _state(is_enabled: bool | None) -> str:
    return {None: " (new)", True: " (enabled)", False: " (disabled)"}[is_enabled]


async def _check_now(server: ToolServer) -> list[tuple[str, str | None]]:
    """What to say of a server, each with the name of the tool that it is about, if it is about one.

    Raises ToolFault.
    """
    found = await find_token_source(server)
    endpoint = endpoint_of(server)
    if server.kind == ToolServerKind.HTTP:
        await credentials(endpoint)
        await check_connection(endpoint.url, endpoint.may_reach)
        return [("a connection can be made", None)]
    from chat.tools import mcp_client

    notes = [(f"it has its tokens from {server.oauth_token_url}", None)] if found else []
    listing = await mcp_client.list_tools(endpoint)
    first = f"it answers by {listing.protocol_version}, and lists {len(listing.tools)} tools"
    return [*notes, (first, None), *((tool.name, tool.name) for tool in listing.tools)]
