"""Exports of answers, with where they come from on request."""

from __future__ import annotations

import csv
import io
import json

import pytest

from chat.models import Task
from chat.models.files import read_pieces
from chat.runner.runtime import Runtime
from chat.tables.models import Export
from tests.chat.tables.ai.conftest import Act, AiGrid, done, expected
from tests.chat.tables.transfers import work

pytestmark = pytest.mark.django_db(transaction=True)


def exported(grid: AiGrid, **body: object) -> str:
    grid.api("post", f"/{grid.id}/exports", {"provenance": True, **body}, status=202)
    work()
    job = Export.objects.order_by("-id").first()
    assert job is not None
    assert (job.state, job.message) == ("done", "")
    assert job.file_id is not None
    return b"".join(read_pieces(job.file_id)).decode()


async def test_answers_are_exported_with_their_provenance(
    grid: AiGrid, worker: Runtime, act: Act
) -> None:
    await act(grid.create, {"Text": "First"}, {"Text": "Second"})
    summary = await act(grid.add_ai, "Summary")
    # A field of this name is there already.
    await act(grid.add_field, "Summary: state", "text")
    made = await act(grid.start, summary, first=1)
    await done(made["id"])
    header, first, second = csv.reader(io.StringIO(await act(exported, grid, format="csv")))
    assert header == [
        *("Text", "Number", "Summary", "Summary: state"),
        *("Summary: state 2", "Summary: version", "Summary: model", "Summary: input tokens"),
        *("Summary: output tokens", "Summary: cost", "Summary: currency", "Summary: time"),
        "Summary: task",
    ]
    task = await act(Task.objects.get)
    assert first[:3] == ["First", "", expected("First")]
    assert first[4:7] == ["done", "1", "deepseek-flash"]
    assert all(int(tokens) > 0 for tokens in first[7:9])
    assert first[11].endswith("Z")
    assert first[12] == str(task.pk)
    assert second == ["Second", "", "", "", "none", *[""] * 8]
    lines = (await act(exported, grid, format="jsonl")).splitlines()
    answer = json.loads(lines[0])
    assert (answer["Summary: version"], answer["Summary: task"]) == (1, str(task.pk))
