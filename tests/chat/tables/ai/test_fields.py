"""AI fields: what they read and fill, what is refused at saving, who may do what."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from accounts.models import User
from chat.models import LLMModel, Scene
from chat.runner.runtime import Runtime
from chat.services.scenes import create_version, publish
from chat.tables.models import Table
from tests.chat.tables.ai.conftest import Act, AiGrid, Json, done, expected
from tests.chat.tables.conftest import Grids
from tests.conftest import ClientOf
from tests.subtests import subtested

pytestmark = pytest.mark.django_db(transaction=True)

SCHEMA: Json = {
    "type": "object",
    "properties": {
        "label": {"type": "string", "enum": ["good", "bad"]},
        "score": {"type": "integer"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "note": {"type": "string"},
    },
    "required": ["label", "score", "tags", "note"],
    "additionalProperties": False,
}


@pytest.fixture
def judge(model: LLMModel) -> Scene:
    """A scene whose answers are JSON objects."""
    scene = Scene.objects.create(slug="judge", title="Judge")
    version = {"user_template": "{{ text }}", "output_schema": SCHEMA}
    publish(create_version(scene, None, version))
    return scene


async def test_an_answer_fills_several_columns(
    grid: AiGrid, judge: Scene, worker: Runtime, act: Act
) -> None:
    row_ids = await act(grid.create, *({"Text": f"Text {n}"} for n in range(5)))
    verdict = await act(grid.add_ai, "Verdict", scene="judge")
    kinds = {output["name"]: output["kind"] for output in verdict["outputs"]}
    assert kinds == {"label": "select", "score": "integer", "tags": "json", "note": "long_text"}
    run = await done((await act(grid.start, verdict))["id"])
    assert (run.succeeded, run.failed) == (5, 0)
    row = await act(grid.row, row_ids[0])
    assert row["label"] in (1, 2)
    assert isinstance(row["score"], int)
    assert isinstance(row["tags"], list)
    assert row["note"]


async def test_an_answer_that_is_none_for_its_cells_fails_the_row(
    grid: AiGrid, worker: Runtime, act: Act
) -> None:
    """Numbers are read strictly, and what the model said is kept with the error."""
    [row_id] = await act(grid.create, {"Text": "Not a number"})
    outputs = [{"name": "Count", "kind": "number"}]
    count = await act(grid.add_ai, "Count", outputs=outputs)
    run = await done((await act(grid.start, count))["id"])
    assert (run.succeeded, run.failed) == (0, 1)
    cell = await act(grid.cell, count, row_id)
    assert (cell["state"], cell["error"]["code"]) == ("failed", "output_invalid")
    assert cell["error"]["params"] == {"rule": "not_number"}
    assert cell["error"]["text"] == expected("Not a number")
    assert cell["values"] == {grid.key("Count"): None}


async def test_fields_of_all_kinds_are_given_to_a_prompt(
    grid: AiGrid, worker: Runtime, act: Act
) -> None:
    await act(grid.add_field, "Day", "date")
    await act(grid.add_field, "When", "datetime")
    await act(grid.add_field, "State", "select", choices=["Open", "Shut"])
    await act(grid.add_field, "Tags", "multi_select", choices=["a", "b", "c"])
    await act(grid.add_field, "Done", "boolean")
    await act(grid.add_field, "Facts", "json")
    names = ("Text", "Number", "Day", "When", "State", "Tags", "Done", "Facts")
    template = "|".join(f"{{{{ {name.lower()} }}}}" for name in names) + "|{{ tone }}"
    scene = await act(Scene.objects.create, slug="all", title="All")
    version = await act(create_version, scene, None, {"user_template": template})
    await act(publish, version)
    values = {
        "Text": "x%s{}", "Number": 1.5, "Day": "2026-01-31", "When": "2026-01-31T12:00:00+08:00",
        "State": "Shut", "Tags": ["c", "a"], "Done": True, "Facts": {"a": [1]},
    }  # fmt: skip
    row_ids = await act(grid.create, values, {"Text": "only"})
    mapping: dict[str, Any] = {name.lower(): name for name in names}
    mapping["tone"] = {"value": "kind"}
    answer = await act(grid.add_ai, "Answer", scene="all", mapping=mapping)
    run = await done((await act(grid.start, answer))["id"])
    assert run.succeeded == 2
    prompts = ['x%s{}|1.5|2026-01-31|2026-01-31T04:00:00Z|Shut|c, a|true|{"a":[1]}|kind',
               "only||||||||kind"]  # fmt: skip
    assert await act(grid.texts, "Answer", row_ids) == [expected(prompt) for prompt in prompts]
    assert await act(grid.states, answer) == {"done": 2}
    # A choice that is called otherwise is another input.
    choices = [{"id": 1, "name": "Open"}, {"id": 2, "name": "Closed"}]
    path = f"/fields/{grid.fields['State']['id']}"
    await act(grid.api, "patch", path, {"options": {"choices": choices}})
    assert await act(grid.states, answer) == {"done": 1, "stale": 1}


# --- Conditions and chains ----------------------------------------------------------------------
async def test_rows_that_do_not_meet_the_condition_are_skipped(
    grid: AiGrid, worker: Runtime, act: Act
) -> None:
    await act(grid.create, *({"Text": f"Text {n}", "Number": n} for n in range(10)))
    condition = {"field": grid.key("Number"), "op": "gte", "value": 6}
    summary = await act(grid.add_ai, "Summary", condition=condition)
    run = await done((await act(grid.start, summary))["id"])
    assert (run.total, run.succeeded, run.skipped) == (10, 4, 6)
    assert await act(grid.states, summary) == {"done": 4, "none": 6}


async def test_a_chain_goes_row_by_row(grid: AiGrid, worker: Runtime, act: Act) -> None:
    texts = [{"Text": f"Text {n} [sim:tokens=5]"} for n in range(8)]
    texts[5] = {"Text": "Bad [sim:status=400]"}
    row_ids = await act(grid.create, *texts)
    first = await act(grid.add_ai, "First")
    second = await act(grid.add_ai, "Second", mapping={"text": "First"})
    third = await act(grid.add_ai, "Third", mapping={"text": "Second"})
    made = await act(grid.start, third, also=[first["id"], second["id"]])
    assert [run["ai_field"] for run in made["runs"]] == [first["id"], second["id"], third["id"]]
    run = await done(made["id"])
    assert (run.succeeded, run.skipped) == (7, 1)
    groups = await act(grid.api, "get", f"/runs/{made['id']}/errors")
    assert [(group["code"], group["rows"]) for group in groups] == [("input_missing", 1)]
    firsts = await act(grid.texts, "First", row_ids)
    seconds = await act(grid.texts, "Second", row_ids)
    assert firsts[5] is None
    for place in (0, 7):
        assert seconds[place] == expected(firsts[place])
    thirds = await act(grid.texts, "Third", row_ids)
    assert thirds[7] == expected(seconds[7])
    # What is asked at the beginning of the chain changes: its end is stale once the middle is.
    await act(grid.batch, {"op": "update", "id": row_ids[0], "values": {"First": "By hand"}})
    assert (await act(grid.cell, second, row_ids[0]))["why"] == ["input"]
    assert (await act(grid.cell, third, row_ids[0]))["state"] == "done"


async def test_a_chain_whose_beginning_is_filled_goes_on(
    grid: AiGrid, worker: Runtime, act: Act
) -> None:
    row_ids = await act(grid.create, {"Text": "one"}, {"Text": "two"})
    first = await act(grid.add_ai, "First")
    await done((await act(grid.start, first))["id"])
    second = await act(grid.add_ai, "Second", mapping={"text": "First"})
    made = await act(grid.start, second, also=[first["id"]])
    assert [run["state"] for run in made["runs"]] == ["done", "running"]
    assert (await done(made["id"])).succeeded == 2
    answers = [expected(expected(text)) for text in ("one", "two")]
    assert await act(grid.texts, "Second", row_ids) == answers


def test_circles_are_refused_at_saving(grid: AiGrid) -> None:
    first = grid.add_ai("First")
    second = grid.add_ai("Second", mapping={"text": "First"})
    path = f"/ai-fields/{first['id']}"
    for mapping in ({"text": grid.key("Second")}, {"text": grid.key("First")}):
        refused = grid.api("patch", path, {"mapping": mapping}, status=400)
        assert refused["errors"][0]["field"].startswith("mapping")
    condition = {"field": grid.key("Second"), "op": "not_empty"}
    grid.api("patch", path, {"condition": condition}, status=400)
    assert grid.api("get", path)["mapping"] == {"text": grid.key("Text")}
    assert grid.api("get", f"/ai-fields/{second['id']}")["mapping"] == {"text": grid.key("First")}


async def test_texts_of_linked_rows_are_given_to_those_who_may_read_them(
    grid: AiGrid, bob: User, client_of: ClientOf, worker: Runtime, act: Act
) -> None:
    others = await act(Grids(grid.client).make, "Others", Name="text")
    other_ids = await act(others.create, {"Name": "first"}, {"Name": "second"})
    await act(grid.add_field, "Links", "link", table=others.id)
    [row_id] = await act(grid.create, {"Text": "x", "Links": [other_ids[1], other_ids[0]]})
    summary = await act(grid.add_ai, "Summary", mapping={"text": "Links"})
    await done((await act(grid.start, summary))["id"])
    assert await act(grid.texts, "Summary", [row_id]) == [expected("second, first")]
    await act(others.batch, {"op": "update", "id": other_ids[0], "values": {"Name": "other"}})
    assert (await act(grid.cell, summary, row_id))["why"] == ["input"]
    # Bob may run the table, and not read the other one.
    await act(share, grid, "run")
    bobs = _as(grid, await act(client_of, bob))
    refused = await act(bobs.start, summary, which="all", status=400)
    assert refused["errors"][0]["field"] == "mapping"


async def test_a_run_of_a_private_view_is_for_those_who_see_it(
    grid: AiGrid, bob: User, client_of: ClientOf, worker: Runtime, act: Act
) -> None:
    await act(grid.create, *({"Text": f"Text {n}", "Number": n} for n in range(6)))
    summary = await act(grid.add_ai, "Summary")
    tree = {"field": grid.key("Number"), "op": "gte", "value": 2}
    sorts = [{"field": grid.key("Number"), "desc": True}]
    body = {"name": "Mine", "filter": tree, "sorts": sorts}
    view = await act(grid.api, "post", f"/{grid.id}/views", body, status=201)
    await act(share, grid, "run")
    bobs = _as(grid, await act(client_of, bob))
    await act(bobs.start, summary, view=view["id"], status=404)
    made = await act(grid.start, summary, view=view["id"], first=2)
    await done(made["id"])
    rows = (await act(grid.api, "get", f"/runs/{made['id']}/rows"))["items"]
    assert [row["inputs"] for row in rows] == [
        {grid.key("Text"): "Text 5"}, {grid.key("Text"): "Text 4"},
    ]  # fmt: skip
    # A view that filters by a field that is gone has more rows than its author saw.
    await act(grid.api, "delete", f"/fields/{grid.fields['Number']['id']}", status=204)
    await act(grid.start, summary, view=view["id"], status=400)


# --- Refusals and rights ------------------------------------------------------------------------
@subtested(
    ("fields", "status", "field"),
    [
        ({"scene": "nowhere"}, 404, "scene"),
        ({"mapping": {"text": "f99999"}}, 400, "mapping.text"),
        ({"mapping": {"text": 5}}, 400, "mapping.text"),
        ({"mapping": {}}, 400, "mapping"),
        ({"options": {"temperature": 9}}, 400, "options.temperature"),
        ({"options": {"model": "x"}}, 400, "options.model"),
        ({"model": "nobody"}, 400, "model"),
        ({"condition": {"field": "f99999", "op": "empty"}}, 400, "condition.field"),
        ({"outputs": [{"name": "x", "kind": "link"}]}, 400, "outputs.0.kind"),
        ({"policy": "always"}, 422, "policy"),
        ({"misspelt": 1}, 422, "misspelt"),
        ({"name": ""}, 400, "name"),
    ],
)
def test_what_an_ai_field_cannot_be_is_refused_by_its_field(
    grid: AiGrid, fields: Json, status: int, field: str
) -> None:
    mapping = fields.pop("mapping", {"text": "Text"})
    refused = grid.add_ai(fields.pop("name", "Bad"), status=status, mapping=mapping, **fields)
    assert refused["errors"][0]["field"].endswith(field)
    assert grid.api("get", f"/{grid.id}/ai-fields") == []
    assert len(grid.api("get", f"/{grid.id}/fields")) == 2


@pytest.mark.parametrize(
    ("scope", "status", "field"),
    [
        ({"which": "some"}, 422, "scope.which"),
        ({"first": 0}, 422, "scope.first"),
        ({"view": 99}, 404, "scope.view"),
        ({"filter": {"field": "f99999", "op": "empty"}}, 400, "scope.filter.field"),
        ({"rows": [-1]}, 422, "scope.rows"),
        ({"rows": [4711]}, 400, "scope"),
    ],
)
def test_what_a_scope_cannot_be_is_refused_by_its_field(
    grid: AiGrid, scope: Json, status: int, field: str
) -> None:
    grid.create({"Text": "x"})
    summary = grid.add_ai("Summary")
    for action in (":estimate", "/runs"):
        path = f"/ai-fields/{summary['id']}{action}"
        refused = grid.api("post", path, {"scope": scope}, status=status)
        assert field in refused["errors"][0]["field"]
    assert grid.api("get", f"/{grid.id}/runs") == []


def test_an_ai_field_is_changed_and_deleted(grid: AiGrid) -> None:
    grid.create({"Text": "x"})
    summary = grid.add_ai("Summary")
    path = f"/ai-fields/{summary['id']}"
    added = {"outputs": [{"name": "More", "kind": "text"}], "name": "Renamed"}
    changed = grid.api("patch", path, added)
    assert [output["name"] for output in changed["outputs"]] == ["Summary", "More"]
    made = grid.api("post", f"{path}/runs", {}, status=201)
    assert made["runs"][0]["state"] == "ready"
    grid.api("delete", path, status=204)
    grid.api("get", path, status=404)
    grid.api("get", f"/runs/{made['id']}")
    assert {field["name"] for field in grid.api("get", f"/{grid.id}/fields")} == {"Text", "Number"}


def test_an_output_comes_out_of_the_trash_with_its_ai_field(grid: AiGrid) -> None:
    grid.create({"Text": "x"})
    outputs = [{"name": "One", "kind": "text"}, {"name": "Two", "kind": "text"}]
    made = grid.add_ai("Answer", outputs=outputs)
    one, two = (output["id"] for output in made["outputs"])
    # Of an AI field that is there: by itself.
    grid.api("delete", f"/fields/{two}", status=204)
    grid.api("post", f"/fields/{two}:restore", {})
    grid.api("delete", f"/ai-fields/{made['id']}", status=204)
    # An output without its AI field would have no cells.
    restored = grid.api("post", f"/fields/{one}:restore", {})
    assert restored["name"] == "One"
    assert len(grid.api("get", f"/ai-fields/{made['id']}")["outputs"]) == 2
    assert grid.row(1)["One"] is None
    # Undo brings none back either whose AI field was deleted since.
    grid.api("delete", f"/fields/{two}?client=t", status=204)
    grid.api("delete", f"/ai-fields/{made['id']}", status=204)
    change = grid.api("get", f"/{grid.id}/changes")["items"][1]
    refused = grid.api("post", f"/{grid.id}:undo", {"change": change["id"]}, status=409)
    assert refused["errors"][0]["field"] == "ai_field"


def test_cells_whose_linked_table_is_gone_are_shown(grid: AiGrid) -> None:
    others = Grids(grid.client).make("Others", Name="text")
    other_ids = others.create({"Name": "one"})
    grid.add_field("Link", "link", table=others.id)
    [row_id] = grid.create({"Text": "x", "Link": other_ids})
    summary = grid.add_ai("Summary", mapping={"text": "Link"})
    Table.objects.get(pk=others.id).delete()
    assert grid.row(row_id)["Summary"] is None
    assert grid.states(summary) == {"none": 1}
    refused = grid.start(summary, status=400)
    assert refused["errors"][0]["field"] == "mapping"


def share(grid: AiGrid, access: str) -> None:
    """With Bob."""
    grid.api("put", f"/{grid.id}/shares", {"shares": [{"user": "bob", "access": [access]}]})


def _as(grid: AiGrid, client: Client) -> AiGrid:
    return AiGrid(client, grid.id, grid.fields)


def test_who_may_do_what(grid: AiGrid, bob: User, client_of: ClientOf) -> None:
    [row_id] = grid.create({"Text": "x"})
    summary = grid.add_ai("Summary")
    path = f"/ai-fields/{summary['id']}"
    made = grid.api("post", f"{path}/runs", {}, status=201)
    bobs = _as(grid, client_of(bob))
    for url in (path, f"/runs/{made['id']}", f"/cells/{summary['id']}/{row_id}"):
        bobs.api("get", url, status=404)
    bobs.api("post", f"{path}/runs", {}, status=404)
    share(grid, "read")
    bobs.api("get", path)
    bobs.api("get", f"/cells/{summary['id']}/{row_id}")
    for url in (f"{path}/runs", f"{path}:estimate", f"/runs/{made['id']}:cancel"):
        bobs.api("post", url, {}, status=403)
    bobs.api("put", f"/cells/{summary['id']}/{row_id}/review", {}, status=403)
    bobs.api("patch", path, {"name": "Mine"}, status=403)
    share(grid, "run")
    assert bobs.api("post", f"{path}/runs", {}, status=201)["runs"][0]["state"] == "ready"
    bobs.api("patch", path, {"name": "Mine"}, status=403)
