"""What runs cost before they begin, what people think of answers, and runs by policies."""

from __future__ import annotations

import json
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import User
from aily.database.rows import execute
from chat.models import Delivery, LLMModel, Run, Scene, Task, WebhookEndpoint
from chat.runner.runtime import Runtime
from chat.runs import progress
from chat.services.scenes import create_version, publish
from chat.tables.ai import policies
from chat.tables.models import AiField, AiRun, Change, Field
from chat.tables.names import rows_table, statement
from tests.chat.runs.conftest import turn
from tests.chat.tables.ai.conftest import Act, AiGrid, Json, done, expected, some_ended
from tests.conftest import ClientOf
from tests.waiting import eventually

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def priced(model: LLMModel) -> None:
    LLMModel.objects.update(input_price=Decimal(2), output_price=Decimal(8))


# --- Estimates ----------------------------------------------------------------------------------
async def test_after_a_try_of_ten_the_estimate_is_within_a_fifth(
    grid: AiGrid, priced: None, worker: Runtime, act: Act
) -> None:
    texts = [
        {"Text": f"{'word ' * (5 + 37 * n % 300)}[sim:tokens={20 + 31 * n % 150}]"}
        for n in range(200)
    ]
    await act(grid.create, *texts)
    summary = await act(grid.add_ai, "Summary")
    path = f"/ai-fields/{summary['id']}"
    before = await act(grid.api, "post", f"{path}:estimate", {"scope": {}})
    assert (before["rows"], before["based_on"], before["duplicates"]) == (200, "limits", 0)
    assert await act(Run.objects.count) == 0
    made = await act(grid.start, summary, **{"try": 10})
    assert made["runs"][0]["state"] == "ready"
    await some_ended(made["id"], 10)
    assert await act(grid.states, summary) == {"done": 10, "none": 190}
    estimated = await act(grid.act, made["id"], "estimate")
    assert (estimated["rows"], estimated["based_on"]) == (190, "rows")
    again = await act(grid.api, "post", f"{path}:estimate", {"scope": {}})
    assert (again["rows"], again["based_on"], again["in_scope"]) == (190, "history", 200)
    spent = (await act(grid.run, made["id"]))["cost"]
    await act(grid.act, made["id"], "start")
    run = await done(made["id"])
    cost = run.cost - Decimal(spent)
    for estimate in (estimated, again):
        assert Decimal("0.8") < Decimal(estimate["likely"]["cost"]) / cost < Decimal("1.2")
        assert cost <= Decimal(estimate["at_most"]["cost"])


def test_an_estimate_counts_duplicates_and_rows_that_are_skipped(
    grid: AiGrid, priced: None
) -> None:
    grid.create(*({"Text": f"Text {n % 3}", "Number": n} for n in range(12)))
    condition = {"field": grid.key("Number"), "op": "lt", "value": 9}
    summary = grid.add_ai("Summary", condition=condition)
    found = grid.api("post", f"/ai-fields/{summary['id']}:estimate", {"scope": {}})
    counts = {name: found[name] for name in ("rows", "in_scope", "skipped", "duplicates")}
    assert counts == {"rows": 9, "in_scope": 12, "skipped": 3, "duplicates": 6}


async def test_equal_rows_are_estimated_once_if_they_share_a_call(
    grid: AiGrid, priced: None, worker: Runtime, act: Act
) -> None:
    """Before a run is made, of the run, and as it then costs; the most is that of all rows."""
    asked = [f"Text {n} {'word ' * 20 * n}[sim:tokens=30]" for n in range(4)]
    await act(grid.create, *({"Text": text} for text in asked * 5))
    summary = await act(grid.add_ai, "Summary")
    path = f"/ai-fields/{summary['id']}:estimate"
    alone = await act(grid.api, "post", path, {"scope": {}})
    shared = await act(grid.api, "post", path, {"scope": {}, "share_equal": True})
    assert (alone["rows"], alone["duplicates"], alone["shared"]) == (20, 16, 0)
    assert (shared["rows"], shared["duplicates"], shared["shared"]) == (20, 16, 16)
    assert shared["at_most"] == alone["at_most"]
    for name in ("likely", "off_peak"):
        share = Decimal(shared[name]["cost"]) / Decimal(alone[name]["cost"])
        assert share == pytest.approx(Decimal("0.2"), rel=Decimal("0.01"))
    made = await act(grid.start, summary, share_equal=True, **{"try": 1})
    await some_ended(made["id"], 1)
    left = await act(grid.act, made["id"], "estimate")
    assert (left["rows"], left["shared"]) == (19, 15)
    unshared = await act(grid.start, summary, start="")
    assert (await act(grid.act, unshared["id"], "estimate"))["shared"] == 0


# --- Reviews and comparisons --------------------------------------------------------------------
async def test_answers_are_reviewed_and_the_rejected_are_asked_again(
    grid: AiGrid, worker: Runtime, act: Act
) -> None:
    row_ids = await act(grid.create, *({"Text": f"Text {n}"} for n in range(3)))
    summary = await act(grid.add_ai, "Summary")
    path = f"/cells/{summary['id']}"
    await act(grid.api, "put", f"{path}/{row_ids[0]}/review", {"thumb": "up"}, status=404)
    await done((await act(grid.start, summary))["id"])
    review = {"thumb": "down", "verdict": "rejected", "note": "Too long."}
    cell = await act(grid.api, "put", f"{path}/{row_ids[1]}/review", review)
    assert cell["state"] == "rejected"
    assert {name: cell["review"][name] for name in review} == review
    assert cell["review"]["by"] == "alice"
    await act(grid.api, "put", f"{path}/{row_ids[0]}/review", {"verdict": "accepted"})
    assert await act(grid.states, summary) == {"done": 2, "rejected": 1}
    tree = {"field": grid.key("Summary"), "op": "state_in", "value": ["rejected"]}
    found = await act(grid.api, "post", f"/{grid.id}/rows:query", {"filter": tree})
    assert [row["id"] for row in found["items"]] == [row_ids[1]]
    run = await done((await act(grid.start, summary, which="rejected"))["id"])
    assert (run.total, run.succeeded) == (1, 1)
    cell = await act(grid.cell, summary, row_ids[1])
    assert (cell["state"], cell["review"]) == ("done", None)
    assert cell["history"][0]["review"]["note"] == "Too long."


async def test_two_configurations_are_compared_on_the_same_rows(
    grid: AiGrid, priced: None, worker: Runtime, act: Act
) -> None:
    await act(grid.create, *({"Text": f"Text {n}"} for n in range(30)))
    summary = await act(grid.add_ai, "Summary")
    body = {"a": {}, "b": {"options": {"max_tokens": 5}}, "rows": 6, "blind": True}
    path = f"/ai-fields/{summary['id']}/comparisons"
    made = await act(grid.api, "post", path, body, status=201)
    assert len(made["rows"]) == 6

    def ended() -> Json | None:
        turn()
        found: Json = grid.api("get", f"/comparisons/{made['id']}")
        sides = found["sides"].values()
        return found if all(side["state"] == "done" for side in sides) else None

    blind = await eventually(lambda: act(ended))
    assert blind is not None
    assert "config" not in blind["sides"]["a"]
    shown = await act(grid.api, "post", f"/comparisons/{made['id']}:reveal", {})
    assert shown["sides"]["b"]["config"]["options"] == {"max_tokens": 5}
    assert Decimal(shown["sides"]["b"]["cost"]) < Decimal(shown["sides"]["a"]["cost"])
    # What was judged blindly is found again on the side that it was.
    for row, judged in zip(shown["rows"], blind["rows"], strict=True):
        assert row["a"]["values"] != row["b"]["values"]
        for name, side in shown["sides"].items():
            assert row[name] == judged[side["blind_as"]]
    assert await act(grid.states, summary) == {"none": 30}
    assert await act(grid.api, "get", f"/ai-fields/{summary['id']}/runs") == []
    [listed] = await act(grid.api, "get", path)
    assert (listed["id"], listed["rows"], listed["is_done"]) == (made["id"], 6, True)


async def test_good_answers_become_examples(grid: AiGrid, worker: Runtime, act: Act) -> None:
    scene = await act(Scene.objects.create, slug="shots", title="Shots")
    templates = {"user_template": "{{ shots }} {{ text }}"}
    await act(lambda: publish(create_version(scene, None, templates)))
    mapping: Json = {"text": "Text", "shots": {"examples": 2}}
    row_ids = await act(grid.create, *({"Text": f"Text {n}"} for n in range(4)))
    for wrong in (0, 21, True, "2"):
        body = {**mapping, "shots": {"examples": wrong}}
        refused = await act(grid.add_ai, "No", scene="shots", mapping=body, status=400)
        assert refused["errors"][0]["field"] == "mapping.shots"
    summary = await act(grid.add_ai, "Summary", scene="shots", mapping=mapping)
    await done((await act(grid.start, summary, rows=row_ids[:3]))["id"])
    answers = await act(grid.texts, "Summary", row_ids[:3])
    assert answers[0] == expected(" Text 0")
    # What a person has put right is an example as well.
    edit = {"op": "update", "id": row_ids[2], "values": {"Summary": "By hand"}}
    await act(grid.batch, edit)
    reviews = [{"thumb": "down"}, {"verdict": "accepted"}, {"thumb": "up"}]
    for row_id, review in zip(row_ids, reviews, strict=False):
        path = f"/cells/{summary['id']}/{row_id}/review"
        await act(grid.api, "put", path, review)
    # No answer is stale by that.
    assert (await act(grid.states, summary)).get("stale") is None
    made = await act(grid.start, summary, rows=row_ids[3:])
    await done(made["id"])
    task = await act(Task.objects.order_by("-id").first)
    lines = task.messages[-1]["content"].removesuffix(" Text 3").split("\n")
    shown = [json.loads(line) for line in lines]
    assert shown == [
        {"inputs": {"text": "Text 2"}, "answer": "By hand"},
        {"inputs": {"text": "Text 1"}, "answer": answers[1]},
    ]


async def test_answers_are_compared_with_the_right_ones(
    grid: AiGrid, worker: Runtime, act: Act
) -> None:
    """Which rows of a labelled field a configuration gets right, and what it takes them for."""
    await act(grid.add_field, "Truth", "text")
    texts = [f"Text {n}" for n in range(4)]
    rights = [expected(texts[0], max_tokens=100), "other", None, expected(texts[3])]
    rows = [{"Text": text, "Truth": right} for text, right in zip(texts, rights, strict=True)]
    await act(grid.create, *rows)
    summary = await act(grid.add_ai, "Summary")
    output, truth = grid.key("Summary"), grid.key("Truth")
    body: Json = {"a": {"options": {"max_tokens": 100}}, "b": {}, "rows": 4}
    path = f"/ai-fields/{summary['id']}/comparisons"
    for wrong in ({truth: output}, {output: output}, {output: "f0"}):
        refused = await act(grid.api, "post", path, {**body, "truth": wrong}, status=400)
        assert refused["errors"][0]["field"].startswith("truth.")
    body["truth"] = {output: truth}
    made = await act(grid.api, "post", path, body, status=201)

    def ended() -> Json | None:
        turn()
        found: Json = grid.api("get", f"/comparisons/{made['id']}")
        sides = found["sides"].values()
        return found if all(side["state"] == "done" for side in sides) else None

    shown = await eventually(lambda: act(ended))
    assert shown is not None
    short, long = (shown["sides"][name]["truth"][output] for name in ("a", "b"))
    assert (short["compared"], short["right"]) == (3, 1)
    assert (long["compared"], long["right"]) == (3, 1)
    pair = {"truth": "other", "answer": expected(texts[1]), "rows": 1}
    assert pair in long["pairs"]


# --- Policies -----------------------------------------------------------------------------------
def _settle_rows(grid: AiGrid) -> None:
    """Let all changes be older than a policy waits for."""
    past = timezone.now() - timedelta(minutes=5)
    execute(statement("UPDATE {rows} SET updated_at = %s", rows=rows_table(grid.id)), [past])
    Change.objects.filter(table=grid.id).update(created_at=past)


async def _filled(grid: AiGrid, act: Act) -> int:
    """Let policies make their runs, and wait for these. Returns how many were made."""
    made: int = await act(policies.fill_by_policies)
    if made:
        run = await act(AiRun.objects.order_by("-run_id").first)
        await done(str(run.pk))
    return made


async def test_policies_fill_cells_by_themselves(grid: AiGrid, worker: Runtime, act: Act) -> None:
    row_ids = await act(grid.create, *({"Text": f"Text {n}"} for n in range(4)))
    summary = await act(grid.add_ai, "Summary", policy="empty", max_rows_per_hour=6)
    # Nobody's typing is interrupted.
    assert await _filled(grid, act) == 0
    await act(_settle_rows, grid)
    assert await _filled(grid, act) == 1
    assert await act(grid.states, summary) == {"done": 4}
    await act(grid.batch, {"op": "update", "id": row_ids[0], "values": {"Text": "New"}})
    await act(_settle_rows, grid)
    assert await _filled(grid, act) == 0
    path = f"/ai-fields/{summary['id']}"
    await act(grid.api, "patch", path, {"policy": "fresh"})
    await act(_settle_rows, grid)
    assert await _filled(grid, act) == 1
    assert (await act(grid.row, row_ids[0]))["Summary"] == expected("New")
    # Five of six rows an hour are filled.
    await act(grid.create, {"Text": "a"}, {"Text": "b"})
    await act(_settle_rows, grid)
    assert await _filled(grid, act) == 1
    assert await act(grid.states, summary) == {"done": 5, "none": 1}
    assert await _filled(grid, act) == 0
    shown = await act(grid.api, "get", path)
    assert shown["note"] == "6 rows an hour are filled."
    # For a text in another language.
    assert shown["note_code"] == "policy_limit"
    assert shown["note_params"] == {"rule": "policy_rows", "limit": "6"}
    await act(AiRun.objects.update, is_automatic=False)
    assert await _filled(grid, act) == 1
    shown = await act(grid.api, "get", path)
    assert (shown["note"], shown["note_code"], shown["note_params"]) == ("", "", {})


async def test_a_problem_that_keeps_a_policy_back_has_its_code(
    grid: AiGrid, worker: Runtime, act: Act
) -> None:
    await act(grid.create, {"Text": "Text"})
    summary = await act(grid.add_ai, "Summary", policy="empty")
    path = f"/ai-fields/{summary['id']}"
    await act(_settle_rows, grid)
    await act(Field.objects.filter(table=grid.id, name="Text").update, deleted_at=timezone.now())
    assert await _filled(grid, act) == 0
    shown = await act(grid.api, "get", path)
    assert shown["note_code"] == "invalid_request"
    assert shown["note_params"] == {"rule": "mapped_deleted"}
    await act(Field.objects.filter(table=grid.id, name="Text").update, deleted_at=None)
    await act(Scene.objects.filter(slug=summary["scene"]).update, is_enabled=False)
    assert await _filled(grid, act) == 0
    shown = await act(grid.api, "get", path)
    params = {"rule": "no_such_scene", "name": repr(summary["scene"])}
    assert (shown["note_code"], shown["note_params"]) == ("not_found", params)


async def test_a_policy_looks_once_at_a_table_that_does_not_change(
    grid: AiGrid, worker: Runtime, act: Act, django_assert_max_num_queries: Any
) -> None:
    await act(grid.create, {"Text": "Bad [sim:status=400]"}, {"Text": "Good"})
    summary = await act(grid.add_ai, "Summary", policy="fresh")
    await act(_settle_rows, grid)
    assert await _filled(grid, act) == 1
    assert await act(grid.states, summary) == {"done": 1, "failed": 1}
    # What has failed is not paid again and again.
    await act(_settle_rows, grid)
    assert await _filled(grid, act) == 0
    row = await act(AiField.objects.get, pk=summary["id"])
    assert row.checked_rev == (await act(lambda: row.table.rev))

    def look() -> None:
        with django_assert_max_num_queries(8):
            policies.fill_by_policies()

    await act(look)


# --- Watching -----------------------------------------------------------------------------------
async def test_who_may_read_the_table_watches_its_runs(
    grid: AiGrid, bob: User, client_of: ClientOf, worker: Runtime, act: Act
) -> None:
    await act(grid.create, *({"Text": f"Text {n}"} for n in range(3)))
    summary = await act(grid.add_ai, "Summary")
    made = await act(grid.start, summary)
    run_id = (await act(Run.objects.get, pk=made["id"])).pk
    with pytest.raises(Exception, match="no such run"):
        await act(progress.load_watched, bob.pk, run_id)
    body = {"shares": [{"user": "bob", "access": ["read"]}]}
    await act(grid.api, "put", f"/{grid.id}/shares", body)
    assert (await act(progress.load_watched, bob.pk, run_id)).pk == run_id
    await done(made["id"])
    last = await act(lambda: progress.progress_of(progress.load_watched(bob.pk, run_id)))
    assert (last.state, last.counts["succeeded"], last.counts["skipped"]) == ("done", 3, 0)


async def test_the_end_of_a_run_is_sent_to_webhooks(
    grid: AiGrid, alice: User, worker: Runtime, act: Act
) -> None:
    await act(grid.create, {"Text": "x"})
    summary = await act(grid.add_ai, "Summary")
    endpoint = await act(
        lambda: WebhookEndpoint.objects.create(
            owner=alice, url="https://example.com/hook", events=["run.completed"]
        )
    )
    made = await act(grid.start, summary, webhook=endpoint.pk)
    await done(made["id"])
    [delivery] = await act(lambda: list(Delivery.objects.all()))
    assert delivery.event == "run.completed"
    assert (delivery.data["table_id"], delivery.data["ai_field_id"]) == (grid.id, summary["id"])


async def test_a_page_of_rows_shows_answers_with_their_states(
    grid: AiGrid, worker: Runtime, act: Act, django_assert_num_queries: Any
) -> None:
    row_ids = await act(grid.create, *({"Text": f"Text {n}"} for n in range(10)))
    summary = await act(grid.add_ai, "Summary")
    await done((await act(grid.start, summary, first=5))["id"])
    found = await act(grid.api, "post", f"/{grid.id}/rows:query", {})
    key = grid.key("Summary")
    assert [row["id"] for row in found["items"]] == row_ids
    assert found["items"][0]["values"][key] == expected("Text 0")
    assert [row["ai"][key]["state"] for row in found["items"]] == ["done"] * 5 + ["none"] * 5
    opened = await act(grid.api, "post", f"/{grid.id}:open", {})
    paths = [f"/snapshots/{opened['id']}/rows", f"/{grid.id}/rows?ids={row_ids[0]}"]
    for path, items in zip(paths, ("items", "rows"), strict=True):
        [row, *_] = (await act(grid.api, "get", path))[items]
        assert (row["values"][key], row["ai"][key]["state"]) == (expected("Text 0"), "done")
    row = await act(grid.api, "get", f"/{grid.id}/rows/{row_ids[0]}")
    assert row["ai"][key]["state"] == "done"
    assert await act(Task.objects.count) == 5


async def test_rows_by_what_ai_fields_have(grid: AiGrid, worker: Runtime, act: Act) -> None:
    """Conditions, sorts and groups read answers like other cells, and join their table once."""
    await act(grid.create, *({"Text": f"Text {n}"} for n in range(4)))
    summary = await act(grid.add_ai, "Summary")
    await done((await act(grid.start, summary, first=2))["id"])
    key = grid.key("Summary")
    tree = {
        "and": [
            {"field": key, "op": "not_empty"},
            {"field": key, "op": "state_in", "value": ["done", "edited"]},
        ]
    }
    body = {"filter": tree, "sorts": [{"field": key, "desc": True}], "count": "exact"}
    found = await act(grid.api, "post", f"/{grid.id}/rows:query", body)
    texts = [row["values"][key] for row in found["items"]]
    assert (found["count"], texts) == (2, sorted(texts, reverse=True))
    empty = {
        "filter": {"field": key, "op": "state_in", "value": ["none"]},
        "aggregates": {key: "filled"},
    }
    grouped = await act(grid.api, "post", f"/{grid.id}:aggregate", empty)
    assert grouped["groups"] == [{"values": [], "count": 2, "aggregates": {key: 0}}]
    refused = {"filter": {"field": key, "op": "state_in", "value": ["gone"]}}
    await act(grid.api, "post", f"/{grid.id}/rows:query", refused, status=400)
