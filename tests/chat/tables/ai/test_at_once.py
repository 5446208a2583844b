"""Runs beside other work on their table, and without what they need."""

from __future__ import annotations

import asyncio

import pytest

from chat.models import LLMModel, Run, Scene, Task
from chat.runner.runtime import Runtime
from tests.chat.runs.conftest import turn
from tests.chat.tables.ai.conftest import Act, AiGrid, Json, done, expected, some_ended
from tests.chat.tables.transfers import Imports
from tests.waiting import eventually

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def one_at_a_time(model: LLMModel) -> None:
    """Before a worker starts, which reads the caps seldom: one call at once."""
    LLMModel.objects.update(max_concurrency=1)


async def test_two_runs_and_an_import_on_one_table(
    grid: AiGrid, one_at_a_time: None, worker: Runtime, act: Act
) -> None:
    """Each row of both runs has its answer, and each row of the file is there once."""
    texts = [f"Text {n}" for n in range(12)]
    row_ids = await act(grid.create, *({"Text": text} for text in texts))
    first = await act(grid.add_ai, "First")
    second = await act(grid.add_ai, "Second", options={"max_tokens": 100})
    started = [await act(grid.start, ai_field) for ai_field in (first, second)]
    await some_ended(started[0]["id"], 2)
    imports = Imports(grid.client)
    lines = "".join(f"File {n}\n" for n in range(50))
    job = await act(imports.inspected, f"Text\n{lines}", "rows.csv", grid)
    imported: asyncio.Future[Json] = asyncio.ensure_future(act(imports.run, job))
    runs = [await done(made["id"]) for made in started]
    assert (await imported)["created_rows"] == 50
    assert [(run.succeeded, run.total) for run in runs] == [(12, 12), (12, 12)]
    assert await act(grid.texts, "First", row_ids) == [expected(text) for text in texts]
    shortened = [expected(text, max_tokens=100) for text in texts]
    assert await act(grid.texts, "Second", row_ids) == shortened
    assert await act(grid.states, first) == {"done": 12, "none": 50}
    assert await act(Task.objects.count) == 24


@pytest.mark.parametrize("lost", ["table", pytest.param("scene", marks=pytest.mark.slow)])
async def test_a_run_stops_without_its_table_or_scene_and_goes_on_with_it(
    grid: AiGrid, one_at_a_time: None, worker: Runtime, act: Act, lost: str
) -> None:
    row_ids = await act(grid.create, *({"Text": f"Text {n}"} for n in range(600)))
    summary = await act(grid.add_ai, "Summary")
    # Fewer at once than there are rows: some are fed once it is gone.
    made = await act(grid.start, summary, max_open=5)
    await some_ended(made["id"], 2)
    scene = await act(Scene.objects.get, slug="echo")
    if lost == "table":
        await act(grid.api, "delete", f"/{grid.id}", status=204)
    else:
        await act(Scene.objects.update, slug="other")

    def stopped() -> Run | None:
        turn()
        run = Run.objects.get(pk=made["id"])
        return run if run.state == "paused" and not run.open else None

    paused = await eventually(lambda: act(stopped))
    assert paused is not None
    assert (paused.failed, paused.reason != "") == (0, True)
    if lost == "table":
        await act(grid.api, "post", f"/{grid.id}:restore", {})
    else:
        await act(Scene.objects.filter(pk=scene.pk).update, slug="echo")
    # The others would take as long as so many calls do.
    await act(grid.batch, *({"op": "delete", "id": pk} for pk in row_ids[20:]))
    await act(grid.act, made["id"], "resume")
    run = await done(made["id"])
    assert (run.failed, run.succeeded + run.skipped) == (0, 600)
    assert await act(grid.texts, "Summary", row_ids[:20]) == [
        expected(f"Text {n}") for n in range(20)
    ]
