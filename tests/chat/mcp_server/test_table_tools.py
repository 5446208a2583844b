"""Tools for tables: what they read, what they change, and that no run starts before its price is
known."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import httpx
import pytest
from pytest_django import Settings

from accounts.models import User
from aily.database.threads import in_database
from chat.models import LLMModel, Run, Scene
from tests.chat.mcp_server.rpc import legacy, modern
from tests.chat.tables.ai.conftest import AiGrid, Json
from tests.chat.tables.conftest import Grids
from tests.conftest import ClientOf

BOTH = pytest.mark.parametrize("ask", [legacy, modern])
NAMES = ["tables_query", "tables_write", "runs_start"]


@pytest.fixture
async def grid(alice: User, client_of: ClientOf, scene: Scene) -> AiGrid:
    def make() -> AiGrid:
        made = Grids(client_of(alice)).make("Notes", Text="long_text", Count="integer")
        grid = AiGrid(made.client, made.id, made.fields)
        grid.create(*({"Text": f"Text {n}", "Count": n} for n in range(6)))
        return grid

    return await in_database(make)


@pytest.fixture
async def ai_field(grid: AiGrid) -> Json:
    made: Json = await in_database(grid.add_ai, "Summary")
    return made


class Tools:
    """Calls tools with one key."""

    def __init__(self, http: httpx.AsyncClient, key: str, ask: Any = modern) -> None:
        self._http, self._key, self._ask = http, key, ask

    async def names(self) -> list[str]:
        listed = await self._ask(self._http, self._key, "tools/list", {})
        return [tool["name"] for tool in listed["result"]["tools"]]

    async def call(self, name: str, **arguments: Any) -> Json:
        params = {"name": name, "arguments": arguments}
        result = (await self._ask(self._http, self._key, "tools/call", params))["result"]
        assert result["isError"] is False, result
        found: Json = result["structuredContent"]
        return found

    async def refusal(self, name: str, **arguments: Any) -> str:
        params = {"name": name, "arguments": arguments}
        result = (await self._ask(self._http, self._key, "tools/call", params))["result"]
        assert result["isError"] is True, result
        return str(result["content"][0]["text"])


@BOTH
async def test_tables_are_found_read_and_changed(
    http: httpx.AsyncClient, key: str, foreign_key: str, grid: AiGrid, ai_field: Json, ask: Any
) -> None:
    tools = Tools(http, key, ask)
    assert set(NAMES) <= set(await tools.names())
    [listed] = (await tools.call("tables_query"))["tables"]
    assert (listed["table"], listed["name"], listed["rows"]) == (grid.id, "Notes", 6)
    count, text = grid.key("Count"), grid.key("Text")
    tree = {"field": count, "op": "gte", "value": 3}
    sorts = [{"field": count, "desc": True}]
    first = await tools.call("tables_query", table=grid.id, filter=tree, sorts=sorts, limit=2)
    assert [row["values"][count] for row in first["rows"]] == [5, 4]
    assert [field["name"] for field in first["fields"]] == ["Text", "Count", "Summary"]
    assert [found["id"] for found in first["ai_fields"]] == [ai_field["id"]]
    rest = {"filter": tree, "sorts": sorts, "cursor": first["next"]}
    second = await tools.call("tables_query", table=grid.id, **rest)
    assert [row["values"][count] for row in second["rows"]] == [3]
    created = {"op": "create", "values": {text: "New"}}
    changed = {"op": "update", "id": first["rows"][0]["id"], "values": {text: "Changed"}}
    written = await tools.call("tables_write", table=grid.id, operations=[created, changed])
    assert [result["status"] for result in written["results"]] == ["created", "updated"]
    # What does not fit is for the model to mend, and nothing of it happens.
    wrong = {"op": "create", "values": {count: "many"}}
    refusal = await tools.refusal("tables_write", table=grid.id, operations=[created, wrong])
    assert count in refusal
    assert "filter.op" in await tools.refusal(
        "tables_query", table=grid.id, filter={"field": count, "op": "odd", "value": 1}
    )
    assert (await tools.call("tables_query"))["tables"][0]["rows"] == 7
    foreign = Tools(http, foreign_key, ask)
    assert not set(NAMES) & set(await foreign.names())
    assert (await foreign.call("tables_query"))["tables"] == []
    for name, arguments in (
        ("tables_query", {"table": grid.id}),
        ("tables_write", {"table": grid.id, "operations": [created]}),
        ("runs_start", {"ai_field": ai_field["id"]}),
    ):
        assert "There is no such" in await foreign.refusal(name, **arguments)


async def test_a_run_is_estimated_before_it_starts(
    http: httpx.AsyncClient, key: str, grid: AiGrid, ai_field: Json
) -> None:
    await in_database(LLMModel.objects.update, input_price=2, output_price=8)
    tools = Tools(http, key)
    asked: Json = {"ai_field": ai_field["id"], "scope": {"first": 4}}
    estimate = await tools.call("runs_start", **asked)
    assert (estimate["rows"], await in_database(Run.objects.count)) == (4, 0)
    token = estimate["estimate"]
    for other in (
        {**asked, "estimate": "made up"},
        {**asked, "estimate": f"{token}x"},
        {**asked, "scope": {"first": 5}, "estimate": token},
        {**asked, "share_equal": True, "estimate": token},
    ):
        assert "estimate" in await tools.refusal("runs_start", **other)
    assert await in_database(Run.objects.count) == 0
    calls = (tools.call("runs_start", **asked, estimate=token) for _ in range(3))
    started, *again = await asyncio.gather(*calls)
    again.append(await tools.call("runs_start", **asked, estimate=token))
    assert {call["run"] for call in again} == {started["run"]}
    run = await in_database(Run.objects.get, pk=started["run"])
    assert (started["rows"], run.total, run.state) == (4, 4, "running")
    assert run.max_cost == Decimal(estimate["at_most_cost"]) > 0


async def test_who_only_reads_changes_and_runs_nothing(
    http: httpx.AsyncClient, foreign_key: str, grid: AiGrid, ai_field: Json
) -> None:
    shares = {"shares": [{"user": "bob", "access": ["read"]}]}
    await in_database(grid.api, "put", f"/{grid.id}/shares", shares)
    reader = Tools(http, foreign_key)
    assert len((await reader.call("tables_query", table=grid.id))["rows"]) == 6
    operations = [{"op": "create", "values": {}}]
    refusal = await reader.refusal("tables_write", table=grid.id, operations=operations)
    assert "tables.change_table" in refusal
    assert "tables.run_table" in await reader.refusal("runs_start", ai_field=ai_field["id"])


async def test_calls_count_as_requests(
    http: httpx.AsyncClient, key: str, grid: AiGrid, settings: Settings
) -> None:
    settings.RATE_LIMIT_PER_MINUTE = 1
    await modern(http, key, "tools/call", {"name": "tables_query", "arguments": {}})
    tools = Tools(http, key)
    assert "Try again after" in await tools.refusal("tables_query")
