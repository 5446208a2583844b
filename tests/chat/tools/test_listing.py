"""What a listing stores: new tools disabled, changes noted, vanished tools marked."""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from aily.database.threads import in_database
from chat.models import Tool, ToolServer
from chat.tools import listing, mcp_client
from chat.tools.lister import ToolLister
from chat.tools.mcp_client import ListedTool, Listing
from chat.tools.results import ToolErrorCode, ToolFault
from tests.chat.tools.conftest import ANY
from tests.waiting import eventually


class Listed:
    """Stands in for the server: what it lists next, or the fault of asking it."""

    def __init__(self) -> None:
        self.tools: list[ListedTool] = []
        self.fault: ToolFault | None = None
        self.asked = 0

    async def list_tools(self, endpoint: Any) -> Listing:
        self.asked += 1
        if self.fault:
            raise self.fault
        return Listing("2026-07-28", self.tools, is_cut=False)


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> Listed:
    found = Listed()
    monkeypatch.setattr(mcp_client, "list_tools", found.list_tools)
    return found


@pytest.fixture
async def server(tool_loop: None) -> ToolServer:
    return await in_database(
        lambda: ToolServer.objects.create(name="crm", url="http://127.0.0.1:9")
    )


def tool(name: str, description: str = "", **fields: Any) -> ListedTool:
    given: dict[str, Any] = {"title": "", "input_schema": ANY, "output_schema": None, "hints": {}}
    return ListedTool(name=name, description=description, **{**given, **fields})


async def stored() -> dict[str, Tool]:
    rows = await in_database(lambda: list(Tool.objects.select_related("server")))
    return {row.function_name: row for row in rows}


async def test_new_tools_are_disabled_and_wait_for_staff(
    listed: Listed, server: ToolServer
) -> None:
    listed.tools = [tool("a", "First.", hints={"readOnlyHint": True}), tool("b.c")]
    changes = await listing.refresh(server)
    assert changes == listing.Changes(new=("a", "b_c"), total=2)
    rows = await stored()
    assert not any(row.is_enabled for row in rows.values())
    assert {row.policy for row in rows.values()} == {"ask"}
    assert not any(row.is_idempotent for row in rows.values())
    assert (rows["a"].hints, rows["b_c"].name) == ({"readOnlyHint": True}, "b.c")
    assert await listing.refresh(await again(server)) == listing.Changes(total=2)


async def again(server: ToolServer) -> ToolServer:
    return await in_database(lambda: ToolServer.objects.get(pk=server.pk))


async def test_a_changed_schema_is_noted_once_and_kept_for_staff(
    listed: Listed, server: ToolServer
) -> None:
    listed.tools = [tool("a", "First.")]
    await listing.refresh(server)
    wanting = {"type": "object", "required": ["id"]}
    listed.tools = [tool("a", "Second.", input_schema=wanting)]
    assert (await listing.refresh(await again(server))).changed == ("a",)
    row = (await stored())["a"]
    assert row.changed_at is not None
    assert row.input_schema == wanting
    first = {"description": "First.", "input_schema": ANY, "output_schema": None}
    assert row.previous == first
    # What staff have seen last is what counts, however often it changes.
    listed.tools = [tool("a", "Third.")]
    await listing.refresh(await again(server))
    assert (await stored())["a"].previous == first


async def test_vanished_tools_are_marked_and_come_back_as_they_were(
    listed: Listed, server: ToolServer
) -> None:
    listed.tools = [tool("a"), tool("b")]
    await listing.refresh(server)
    await in_database(Tool.objects.update, is_enabled=True)
    listed.tools = [tool("b")]
    assert (await listing.refresh(await again(server))).vanished == ("a",)
    rows = await stored()
    assert (rows["a"].is_offered, rows["b"].is_offered) == (False, True)
    assert (await listing.refresh(await again(server))).vanished == ()
    listed.tools = [tool("a"), tool("b")]
    await listing.refresh(await again(server))
    assert (await stored())["a"].is_offered


async def test_two_servers_with_a_tool_of_one_name(listed: Listed, server: ToolServer) -> None:
    listed.tools = [tool("clock")]
    other = await in_database(
        lambda: ToolServer.objects.create(name="other", url="http://127.0.0.1:9")
    )
    await listing.refresh(server)
    await listing.refresh(other)
    rows = await stored()
    assert {name: row.server.name for name, row in rows.items()} == {
        "clock": "crm",
        "other_clock": "other",
    }


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array"},
        {},
        {"type": "object", "properties": 5},
        {"type": "object", "properties": {"a": {"$ref": "https://evil.example/x.json"}}},
        {"type": "object", "description": "x" * 70_000},
    ],
)
async def test_a_schema_that_cannot_be_used(
    listed: Listed, server: ToolServer, schema: dict[str, Any]
) -> None:
    listed.tools = [tool("a", input_schema=schema), tool("b")]
    await listing.refresh(server)
    rows = await stored()
    assert rows["a"].problem
    assert rows["b"].problem == ""
    await in_database(Tool.objects.update, is_enabled=True)
    rows = await stored()
    assert (rows["a"].is_offered, rows["b"].is_offered) == (False, True)


async def test_what_no_database_can_store(listed: Listed, server: ToolServer) -> None:
    listed.tools = [
        tool("a", "nul \0", title="t\0"),
        tool("", "no name"),
        tool("x" * 200),
        tool("b", input_schema={"type": "object", "title": "\0"}),
    ]
    await listing.refresh(server)
    rows = await stored()
    assert rows["a"].description == "nul \ufffd"
    assert rows["b"].problem


async def test_a_listing_that_fails_is_noted_and_changes_no_tool(
    listed: Listed, server: ToolServer
) -> None:
    listed.tools = [tool("a")]
    await listing.refresh(server)
    listed.fault = ToolFault(ToolErrorCode.UNREACHABLE, "The tool's server cannot be reached.")
    with pytest.raises(ToolFault):
        await listing.refresh(await again(server))
    row = await again(server)
    assert row.list_error == "The tool's server cannot be reached."
    assert (await stored())["a"].vanished_at is None
    listed.fault = None
    await listing.refresh(row)
    assert (await again(server)).list_error == ""


async def test_lists_that_are_out_of_date_are_made_anew(listed: Listed, server: ToolServer) -> None:
    assert await listing.refresh_due() == 1
    assert await listing.refresh_due() == 0
    await in_database(ToolServer.objects.update, list_ttl_seconds=10)
    long_ago = timezone.now() - timedelta(seconds=11)
    await in_database(ToolServer.objects.update, listed_at=long_ago)
    assert await listing.refresh_due() == 1
    # While one process lists it, or shortly after that failed, no other does.
    listed.fault = ToolFault(ToolErrorCode.UNREACHABLE, "down")
    await in_database(ToolServer.objects.update, listed_at=long_ago)
    assert await listing.refresh_due() == 1
    assert await listing.refresh_due() == 0
    await in_database(ToolServer.objects.update, is_enabled=False, listing_since=None)
    assert await listing.refresh_due() == 0


async def test_a_refused_call_has_the_tools_listed_soon(listed: Listed, server: ToolServer) -> None:
    listed.tools = [tool("a")]
    await listing.refresh(server)
    await listing.note_outdated(server)
    assert await listing.refresh_due() == 0, "it was listed a moment ago"
    earlier = timezone.now() - timedelta(seconds=2 * listing.RETRY_SECONDS)
    await in_database(ToolServer.objects.update, listed_at=earlier)
    assert await listing.refresh_due() == 0
    await listing.note_outdated(server)
    assert await listing.refresh_due() == 1


async def test_a_worker_lists_when_it_is_woken(listed: Listed, server: ToolServer) -> None:
    lister = ToolLister()
    lister.wake()
    lister.wake()

    async def is_listed() -> bool:
        return (await again(server)).listed_at is not None

    await eventually(is_listed)
    lister.stop()
    assert listed.asked == 1


async def test_a_worker_without_servers_loads_nothing_that_lists(
    server: ToolServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await in_database(ToolServer.objects.update, is_enabled=False)
    monkeypatch.setitem(sys.modules, "chat.tools.listing", None)
    before = asyncio.all_tasks()
    ToolLister().wake()
    (round_of_listing,) = asyncio.all_tasks() - before
    await round_of_listing
