"""Who pays for runs: who starts them, as long as they may; nobody spends another's money."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import User
from aily.database.rows import execute
from chat.models import Run, Task
from chat.runner.runtime import Runtime
from chat.tables.ai import policies
from chat.tables.models import AiField, Change
from chat.tables.names import rows_table, statement
from tests.chat.runs.conftest import turn, turns_until
from tests.chat.tables.ai.conftest import Act, AiGrid, Json, done
from tests.chat.tables.conftest import Grids
from tests.conftest import ClientOf
from tests.waiting import eventually

pytestmark = pytest.mark.django_db(transaction=True)


def share(grid: AiGrid, *access: str) -> None:
    """With Bob."""
    shares = [{"user": "bob", "access": list(access)}] if access else []
    grid.api("put", f"/{grid.id}/shares", {"shares": shares})


def _as(grid: AiGrid, client: Client) -> AiGrid:
    return AiGrid(client, grid.id, grid.fields)


# --- Runs of others -----------------------------------------------------------------------------
def test_nobody_spends_by_the_run_of_another(grid: AiGrid, bob: User, client_of: ClientOf) -> None:
    grid.create({"Text": "x"}, {"Text": "y"})
    summary = grid.add_ai("Summary")
    made = grid.api("post", f"/ai-fields/{summary['id']}/runs", {"max_cost": "1"}, status=201)
    run_id = made["id"]
    share(grid, "run", "edit")
    bobs = _as(grid, client_of(bob))
    for action, body in (("try", {"rows": 1}), ("start", {"start": "now"})):
        bobs.act(run_id, action, body, status=403)
    bobs.api("patch", f"/runs/{run_id}", {"max_cost": "100"}, status=403)
    assert (grid.run(run_id)["state"], grid.run(run_id)["max_cost"]) == ("ready", "1")
    assert not Task.objects.exists()
    grid.act(run_id, "start", {"start": "now"})
    # Who may run the table may stop what is under way, and not have it go on.
    assert bobs.act(run_id, "pause")["state"] == "paused"
    bobs.act(run_id, "resume", status=403)
    bobs.act(run_id, "retry-failed", status=403)
    bobs.act(run_id, "cancel")
    bobs.act(run_id, "retry-failed", status=403)
    assert not Task.objects.exists()
    # So a page offers Bob only what he may do.
    [listed] = bobs.api("get", f"/{grid.id}/runs")
    assert listed["started_by"] == grid.run(run_id)["started_by"] != "bob"


# --- Access that is taken back ------------------------------------------------------------------
async def _paused(run_id: str) -> Run:
    return await turns_until(run_id, "paused")


@pytest.mark.parametrize("lost", ["run", "link"])
async def test_a_run_stops_when_its_owner_may_not_run_it_any_more(
    grid: AiGrid, bob: User, client_of: ClientOf, worker: Runtime, act: Act, lost: str
) -> None:
    others = await act(Grids(grid.client).make, "Others", Name="text")
    [other] = await act(others.create, {"Name": "secret"})
    await act(grid.add_field, "Links", "link", table=others.id)
    row_ids = await act(grid.create, *({"Text": f"t{n}", "Links": [other]} for n in range(3)))
    summary = await act(grid.add_ai, "Summary", mapping={"text": "Links"})
    both = {"shares": [{"user": "bob", "access": ["read"]}]}
    await act(share, grid, "run")
    await act(others.send, "put", "/shares", both)
    bobs = _as(grid, await act(client_of, bob))
    made = await act(bobs.start, summary)
    if lost == "run":
        await act(share, grid, "read")
    else:
        await act(others.send, "put", "/shares", {"shares": []})
    run = await _paused(made["id"])
    assert run.reason in ("forbidden", "invalid_request")
    assert "may not" in run.message
    assert await act(Task.objects.count) == 0
    assert await act(grid.texts, "Summary", row_ids) == [None] * 3
    # With the access back it goes on.
    await act(share, grid, "run")
    await act(others.send, "put", "/shares", both)
    await act(bobs.act, made["id"], "resume")
    await done(made["id"])


# --- Cells that are filled by themselves --------------------------------------------------------
def _owner(ai_field: Json) -> str:
    return str(AiField.objects.get(pk=ai_field["id"]).owner)


@pytest.mark.parametrize(
    "change",
    [
        {"policy": "fresh"},
        {"max_cost_per_day": "1000"},
        {"max_rows_per_hour": None},
        {"condition": None},
        {"mapping": {"text": {"value": "long " * 1000}}},
        {"options": {"max_tokens": 4000}},
        {"outputs": [{"name": "More", "kind": "text"}]},
    ],
    ids=lambda change: next(iter(change)),
)
def test_who_changes_what_is_asked_by_itself_pays_for_it(
    grid: AiGrid, bob: User, client_of: ClientOf, change: dict[str, Any]
) -> None:
    number = grid.key("Number")
    summary = grid.add_ai(
        "Summary", policy="empty", max_cost_per_day="1", max_rows_per_hour=5,
        condition={"field": number, "op": "not_empty"},
    )  # fmt: skip
    path = f"/ai-fields/{summary['id']}"
    before = grid.api("get", path)
    bobs = _as(grid, client_of(bob))
    share(grid, "edit")
    bobs.api("patch", path, change, status=403)
    assert grid.api("get", path) == before
    bobs.api("patch", path, {"name": "Short"})
    assert _owner(summary) == "alice"
    share(grid, "edit", "run")
    bobs.api("patch", path, change)
    assert _owner(summary) == "bob"


def test_only_who_may_run_it_has_a_field_filled_by_itself(
    grid: AiGrid, bob: User, client_of: ClientOf
) -> None:
    share(grid, "edit")
    bobs = _as(grid, client_of(bob))
    bobs.add_ai("First", policy="fresh", status=403)
    made = bobs.add_ai("Second")
    bobs.api("patch", f"/ai-fields/{made['id']}", {"policy": "empty"}, status=403)
    assert bobs.api("get", f"/ai-fields/{made['id']}")["policy"] == "by_hand"
    assert AiField.objects.count() == 1


async def test_an_automatic_run_is_paid_by_who_asked_for_it(
    grid: AiGrid, bob: User, client_of: ClientOf, worker: Runtime, act: Act
) -> None:
    summary = await act(grid.add_ai, "Summary", policy="empty")
    await act(share, grid, "edit", "run")
    bobs = _as(grid, await act(client_of, bob))
    await act(bobs.api, "patch", f"/ai-fields/{summary['id']}", {"options": {"max_tokens": 9}})
    await act(grid.create, {"Text": "x"})

    def settle() -> int:
        past = timezone.now() - timedelta(hours=1)
        Change.objects.update(created_at=past)
        update = statement("UPDATE {rows} SET updated_at = %s", rows=rows_table(grid.id))
        execute(update, [past])
        return policies.fill_by_policies()

    assert await act(settle) == 1
    assert await act(lambda: Run.objects.get().owner.username) == "bob"


# --- What readers are shown ---------------------------------------------------------------------
async def test_inputs_from_a_closed_table_are_shown_to_those_who_may_read_it(
    grid: AiGrid, bob: User, client_of: ClientOf, worker: Runtime, act: Act
) -> None:
    others = await act(Grids(grid.client).make, "Others", Name="text")
    [other] = await act(others.create, {"Name": "TOPSECRET"})
    await act(grid.add_field, "Links", "link", table=others.id)
    [row_id] = await act(grid.create, {"Links": [other]})
    summary = await act(grid.add_ai, "Summary", mapping={"text": "Links"})
    made = await act(grid.start, summary)
    await done(made["id"])
    path = f"/ai-fields/{summary['id']}/comparisons"
    compared = await act(grid.api, "post", path, {"a": {}, "b": {}, "rows": 1}, status=201)

    def answered() -> bool:
        turn()
        return Run.objects.exclude(state="done").count() == 0

    await eventually(lambda: act(answered))
    await act(share, grid, "read")
    bobs = _as(grid, await act(client_of, bob))
    both = {grid.key("Links"): ["TOPSECRET"]}

    def shown(reader: AiGrid) -> list[Json]:
        rows = reader.api("get", f"/runs/{made['id']}/rows")["items"]
        compared_now = reader.api("get", f"/comparisons/{compared['id']}")["rows"]
        return [
            rows[0]["inputs"],
            reader.cell(summary, row_id)["inputs"],
            compared_now[0]["inputs"],
        ]

    assert await act(shown, grid) == [both] * 3
    assert await act(shown, bobs) == [{}] * 3
    # A link that is deleted is no way around.
    await act(grid.api, "delete", f"/fields/{grid.fields['Links']['id']}", status=204)
    assert "TOPSECRET" not in str(await act(shown, bobs))
    await act(others.send, "put", "/shares", {"shares": [{"user": "bob", "access": ["read"]}]})
    assert await act(shown, bobs) == [both] * 3


# --- Bounds -------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["mapping", "condition"])
def test_what_each_run_copies_has_a_bound(grid: AiGrid, name: str) -> None:
    values = ["x" * 600] * 120
    cases: dict[str, Json] = {
        "mapping": {"mapping": {"text": {"value": "x" * 300_000}}},
        "condition": {"condition": {"field": grid.key("Text"), "op": "in", "value": values}},
    }
    refused = grid.add_ai("Summary", status=400, **cases[name])
    assert [error["field"] for error in refused["errors"]] == [name]
    assert not AiField.objects.exists()
