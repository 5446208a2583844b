"""Runs of AI fields, through the REST API, a real queue and a real worker."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from pytest_django import Settings

from chat.models import LedgerEntry, LLMModel, Task
from chat.runner.runtime import Runtime
from chat.runs import results
from tests.chat.runs.conftest import turn, turns_until
from tests.chat.tables.ai.conftest import Act, AiGrid, done, expected, some_ended

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def narrow(model: LLMModel) -> None:
    """Before a worker starts, which reads the caps seldom: two calls at once."""
    LLMModel.objects.update(max_concurrency=2)


async def test_empty_cells_are_filled_with_where_they_come_from(
    grid: AiGrid, worker: Runtime, act: Act
) -> None:
    row_ids = await act(grid.create, *({"Text": f"Text {n}"} for n in range(30)))
    summary = await act(grid.add_ai, "Summary")
    assert await act(grid.states, summary) == {"none": 30}
    made = await act(grid.start, summary)
    run = await done(made["id"])
    assert (run.total, run.succeeded, run.failed, run.skipped) == (30, 30, 0, 0)
    texts = await act(grid.texts, "Summary", row_ids)
    assert texts == [expected(f"Text {n}") for n in range(30)]
    assert await act(grid.states, summary) == {"done": 30}
    cell = await act(grid.cell, summary, row_ids[3])
    assert (cell["state"], cell["inputs"]) == ("done", {grid.key("Text"): "Text 3"})
    provenance = cell["provenance"]
    assert (provenance["scene"], provenance["version"]) == ("echo", 1)
    assert (provenance["model"], provenance["started_by"]) == ("deepseek-flash", "alice")
    assert provenance["prompt_tokens"] > 0
    task = await act(Task.objects.get, pk=provenance["task"])
    assert task.text == texts[3]
    # A second run finds nothing to do.
    refused = await act(grid.start, summary, status=400)
    assert refused["errors"][0]["field"] == "scope"


async def test_which_cells_a_run_fills(grid: AiGrid, worker: Runtime, act: Act) -> None:
    row_ids = await act(grid.create, *({"Text": f"Text {n}"} for n in range(6)))
    summary = await act(grid.add_ai, "Summary")
    first = await act(grid.start, summary, first=4)
    await done(first["id"])
    assert await act(grid.states, summary) == {"done": 4, "none": 2}
    await act(grid.batch, {"op": "update", "id": row_ids[0], "values": {"Text": "Changed"}})
    assert await act(grid.states, summary) == {"done": 3, "none": 2, "stale": 1}
    cell = await act(grid.cell, summary, row_ids[0])
    assert (cell["state"], cell["why"]) == ("stale", ["input"])
    stale = await done((await act(grid.start, summary, which="stale"))["id"])
    assert (stale.total, stale.succeeded) == (1, 1)
    texts = await act(grid.texts, "Summary", row_ids)
    assert texts[0] == expected("Changed")
    named = await act(grid.start, summary, which="all", rows=[row_ids[1], row_ids[5]])
    assert (await done(named["id"])).succeeded == 2
    chosen = await act(grid.start, summary, which="all", random=3)
    assert (await done(chosen["id"])).total == 3
    tree = {"field": grid.key("Text"), "op": "is", "value": "Text 2"}
    filtered = await act(grid.start, summary, which="all", filter=tree)
    assert (await done(filtered["id"])).total == 1


async def test_what_is_asked_otherwise_makes_answers_stale(
    grid: AiGrid, worker: Runtime, act: Act
) -> None:
    [row_id] = await act(grid.create, {"Text": "Text"})
    summary = await act(grid.add_ai, "Summary")
    await done((await act(grid.start, summary))["id"])
    path = f"/ai-fields/{summary['id']}"
    await act(grid.api, "patch", path, {"options": {"max_tokens": 500}})
    cell = await act(grid.cell, summary, row_id)
    assert (cell["state"], cell["why"]) == ("stale", ["config"])
    await act(grid.api, "patch", path, {"options": {}})
    assert (await act(grid.cell, summary, row_id))["state"] == "done"


async def test_a_cell_edited_by_hand_stays(grid: AiGrid, worker: Runtime, act: Act) -> None:
    row_ids = await act(grid.create, {"Text": "one"}, {"Text": "two"})
    summary = await act(grid.add_ai, "Summary")
    await done((await act(grid.start, summary))["id"])
    answer = await act(
        grid.batch,
        {"op": "update", "id": row_ids[0], "values": {"Summary": "Mine"},
         "was": {"Summary": expected("one")}},
    )  # fmt: skip
    assert answer.status_code == 200, answer.content
    cell = await act(grid.cell, summary, row_ids[0])
    assert (cell["state"], cell["edited"]["by"]) == ("edited", "alice")
    assert cell["history"][0]["values"] == {grid.key("Summary"): expected("one")}
    again = await done((await act(grid.start, summary, which="all"))["id"])
    assert again.total == 1
    assert await act(grid.texts, "Summary", row_ids) == ["Mine", expected("two")]
    asked = await act(grid.start, summary, which="all", overwrite_edited=True)
    assert (await done(asked["id"])).succeeded == 2
    assert await act(grid.texts, "Summary", row_ids) == [expected("one"), expected("two")]


async def test_an_edit_while_its_answer_is_on_its_way_stays(
    grid: AiGrid, worker: Runtime, act: Act
) -> None:
    [row_id] = await act(grid.create, {"Text": "slow [sim:latency=0.5]"})
    summary = await act(grid.add_ai, "Summary")
    made = await act(grid.start, summary, which="all", overwrite_edited=True)
    await act(turn)
    await act(grid.batch, {"op": "update", "id": row_id, "values": {"Summary": "Mine"}})
    await done(made["id"])
    cell = await act(grid.cell, summary, row_id)
    assert cell["values"] == {grid.key("Summary"): "Mine"}
    assert cell["history"][0]["reason"] == "late"


async def test_inputs_rows_and_fields_that_change_while_a_run_goes_on(
    grid: AiGrid, narrow: None, worker: Runtime, act: Act
) -> None:
    """Each row is asked by its values of the moment at which it is fed."""
    texts = [{"Text": f"Text {n} [sim:latency=0.02]"} for n in range(80)]
    row_ids = await act(grid.create, *texts)
    summary = await act(grid.add_ai, "Summary")
    made = await act(grid.start, summary, max_open=10)
    await some_ended(made["id"], 10)
    await act(grid.batch, {"op": "update", "id": row_ids[79], "values": {"Text": "Late edit"}})
    await act(grid.batch, *({"op": "delete", "id": row_id} for row_id in row_ids[60:70]))
    run = await done(made["id"])
    assert (run.succeeded, run.skipped, run.failed) == (70, 10, 0)
    assert await act(grid.texts, "Summary", row_ids[79:]) == [expected("Late edit")]
    assert await act(grid.states, summary) == {"done": 70}
    groups = await act(grid.api, "get", f"/runs/{made['id']}/errors")
    assert [(group["code"], group["rows"]) for group in groups] == [("row_deleted", 10)]


async def test_a_mapped_field_that_is_deleted_pauses_the_run(
    grid: AiGrid, narrow: None, worker: Runtime, act: Act
) -> None:
    texts = [{"Text": f"Text {n} [sim:latency=0.02]"} for n in range(30)]
    await act(grid.create, *texts)
    summary = await act(grid.add_ai, "Summary")
    made = await act(grid.start, summary, max_open=4)
    await some_ended(made["id"], 2)
    field_id = grid.fields["Text"]["id"]
    await act(grid.api, "delete", f"/fields/{field_id}", status=204)
    for _ in range(3):
        await act(turn)
    run = await act(grid.run, made["id"])
    assert run["state"] == "paused"
    assert "mapping.text" in run["message"]
    await act(grid.api, "post", f"/fields/{field_id}:restore", {})
    await act(grid.act, made["id"], "resume")
    assert (await done(made["id"])).succeeded == 30
    paid = await act(LedgerEntry.objects.usage().filter(kind="settle").count)
    assert paid == 30


@pytest.mark.parametrize("way", ["revert", "undo"])
async def test_a_whole_run_is_taken_back(grid: AiGrid, worker: Runtime, act: Act, way: str) -> None:
    """By its own call, or by undo with its id as the batch, as imports are."""

    async def take_back() -> Any:
        if way == "revert":
            return await act(grid.act, second["id"], "revert")
        return (await act(grid.send, "post", ":undo", {"batch": second["id"]})).json()

    row_ids = await act(grid.create, *({"Text": f"Text {n}"} for n in range(4)))
    summary = await act(grid.add_ai, "Summary")
    await done((await act(grid.start, summary, rows=row_ids[:2]))["id"])
    before = await act(grid.texts, "Summary", row_ids)
    changes = [{"op": "update", "id": pk, "values": {"Text": "New"}} for pk in row_ids]
    await act(grid.batch, *changes)
    second = await act(grid.start, summary, which="all")
    await done(second["id"])
    assert await act(grid.texts, "Summary", row_ids) == [expected("New")] * 4
    await act(grid.batch, {"op": "update", "id": row_ids[1], "values": {"Summary": "Mine"}})
    first = await take_back()
    assert first == {"rows": 3} if way == "revert" else first["rev"]
    assert await act(grid.texts, "Summary", row_ids) == [before[0], "Mine", None, None]
    assert await act(grid.states, summary) == {"edited": 1, "none": 2, "stale": 1}
    cell = await act(grid.cell, summary, row_ids[0])
    assert [version["reason"] for version in cell["history"]] == ["reverted", "replaced"]
    again = await take_back()
    assert again == {"rows": 0} if way == "revert" else again["status"] == 409


async def test_a_run_is_paused_resumed_and_cancelled(
    grid: AiGrid, narrow: None, worker: Runtime, act: Act
) -> None:
    texts = [{"Text": f"Text {n} [sim:latency=0.03]"} for n in range(30)]
    row_ids = await act(grid.create, *texts)
    summary = await act(grid.add_ai, "Summary")
    made = await act(grid.start, summary)
    await some_ended(made["id"], 4)
    paused = await act(grid.act, made["id"], "pause")
    assert paused["state"] == "paused"
    assert not await act(Task.objects.filter(run_id=made["id"], status="queued").exists)
    await act(grid.batch, {"op": "update", "id": row_ids[29], "values": {"Text": "While paused"}})
    await act(grid.act, made["id"], "resume")
    run = await done(made["id"])
    assert run.succeeded == 30
    assert await act(grid.texts, "Summary", row_ids[29:]) == [expected("While paused")]
    paid = await act(LedgerEntry.objects.usage().filter(kind="settle").count)
    assert paid == 30
    again = await act(grid.start, summary, which="all")
    await some_ended(again["id"], 2)
    await act(grid.act, again["id"], "cancel")
    ended = await turns_until(again["id"], "cancelled")
    assert ended.pending == ended.open == 0
    assert await act(grid.states, summary) == {"done": 30}


# --- Failures -----------------------------------------------------------------------------------
async def test_failures_of_the_provider_never_reach_a_cell(
    grid: AiGrid, worker: Runtime, act: Act, settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    settings.TASK_RETRY_SECONDS = 0.01
    settings.TASK_MAX_FAILURES = 2
    monkeypatch.setattr(results, "FIRST_WAIT_SECONDS", 0.02)
    # Seven of ten calls are refused: more often than one task is tried.
    texts = [{"Text": f"Text {n} [sim:status=429,times={1 + n % 4}]"} for n in range(8)]
    texts += [{"Text": f"Other {n} [sim:status=503,times=3]"} for n in range(2)]
    await act(grid.create, *texts)
    summary = await act(grid.add_ai, "Summary")
    run = await done((await act(grid.start, summary))["id"])
    assert (run.succeeded, run.failed) == (10, 0)
    assert await act(grid.states, summary) == {"done": 10}


async def test_a_row_fails_alone_and_is_retried(grid: AiGrid, worker: Runtime, act: Act) -> None:
    texts = [{"Text": f"Text {n}"} for n in range(5)]
    row_ids = await act(grid.create, *texts)
    summary = await act(grid.add_ai, "Summary")
    await done((await act(grid.start, summary))["id"])
    before = await act(grid.texts, "Summary", row_ids)
    bad = {"Text": "Bad [sim:status=400]"}
    await act(grid.batch, {"op": "update", "id": row_ids[2], "values": bad})
    made = await act(grid.start, summary, which="stale")
    run = await done(made["id"])
    assert (run.succeeded, run.failed) == (0, 1)
    cell = await act(grid.cell, summary, row_ids[2])
    assert (cell["state"], cell["error"]["code"]) == ("failed", "provider_bad_request")
    assert cell["error"]["task"]
    assert await act(grid.texts, "Summary", row_ids) == before
    groups = await act(grid.api, "get", f"/runs/{made['id']}/errors")
    assert [(group["code"], group["rows"]) for group in groups] == [("provider_bad_request", 1)]
    await act(grid.batch, {"op": "update", "id": row_ids[2], "values": {"Text": "Good"}})
    await act(grid.act, made["id"], "retry-failed")
    await done(made["id"])
    assert await act(grid.texts, "Summary", row_ids[2:3]) == [expected("Good")]
    assert await act(grid.states, summary) == {"done": 5}


async def test_no_row_is_fed_beyond_max_cost(
    grid: AiGrid, narrow: None, worker: Runtime, act: Act
) -> None:
    await act(LLMModel.objects.update, input_price=Decimal(0), output_price=Decimal(1000))
    texts = [{"Text": f"Text {n} [sim:tokens=10]"} for n in range(30)]
    await act(grid.create, *texts)
    summary = await act(grid.add_ai, "Summary")
    made = await act(grid.start, summary, max_cost="0.10")
    run = await turns_until(made["id"], "paused")
    assert run.reason == "max_cost"
    # One answer costs 0.01.
    assert Decimal("0.05") <= run.cost <= Decimal("0.12")
    await act(grid.api, "patch", f"/runs/{made['id']}", {"max_cost": None})
    await act(grid.act, made["id"], "resume")
    assert (await done(made["id"])).succeeded == 30


# --- Equal rows ---------------------------------------------------------------------------------
@pytest.mark.parametrize(("share", "calls"), [(True, 1), (False, 40)])
async def test_equal_rows_share_a_call_if_asked(
    grid: AiGrid, worker: Runtime, act: Act, share: bool, calls: int
) -> None:
    row_ids = await act(grid.create, *({"Text": "The same"} for _ in range(40)))
    summary = await act(grid.add_ai, "Summary")
    made = await act(grid.start, summary, share_equal=share)
    assert (await done(made["id"])).succeeded == 40
    tasks = Task.objects.filter(run_id=made["id"])
    assert await act(tasks.count) == 40
    assert await act(tasks.filter(served_from="provider").count) == calls
    assert await act(grid.texts, "Summary", row_ids) == [expected("The same")] * 40


async def test_a_repeated_request_makes_one_run_and_tries_once(
    grid: AiGrid, worker: Runtime, act: Act
) -> None:
    await act(grid.create, *({"Text": f"Text {n}"} for n in range(20)))
    summary = await act(grid.add_ai, "Summary")
    path = f"/api/tables/ai-fields/{summary['id']}/runs"

    def send() -> Any:
        return grid.client.post(
            path, {"try": 3}, content_type="application/json", headers={"Idempotency-Key": "once"}
        )

    first, again = await act(send), await act(send)
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    await some_ended(first.json()["id"], 3)
    assert await act(Task.objects.count) == 3
    assert await act(grid.states, summary) == {"done": 3, "none": 17}


async def test_an_edit_that_is_undone_leaves_the_answer_as_it_was(
    grid: AiGrid, worker: Runtime, act: Act
) -> None:
    [row_id] = await act(grid.create, {"Text": "one"})
    summary = await act(grid.add_ai, "Summary")
    await done((await act(grid.start, summary))["id"])
    edit = {"op": "update", "id": row_id, "values": {"Summary": "Mine"}}
    await act(lambda: grid.batch(edit, client="tab"))
    assert (await act(grid.cell, summary, row_id))["state"] == "edited"
    await act(grid.api, "post", f"/{grid.id}:undo", {"client": "tab"})
    cell = await act(grid.cell, summary, row_id)
    assert (cell["state"], cell["edited"]) == ("done", None)
    assert cell["values"] == {grid.key("Summary"): expected("one")}
    assert cell["provenance"]["prompt_tokens"] > 0
    await act(grid.api, "post", f"/{grid.id}:redo", {"client": "tab"})
    cell = await act(grid.cell, summary, row_id)
    assert (cell["state"], cell["values"]) == ("edited", {grid.key("Summary"): "Mine"})
