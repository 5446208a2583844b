"""A hundred thousand rows: what is done at once is one statement each. Slow."""

from __future__ import annotations

import time
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from aily.database.rows import execute
from chat.models import Run, RunRow
from chat.tables.models import Field, Table
from chat.tables.names import answers_table, column, rows_table, statement
from tests.chat.runs.conftest import turn
from tests.chat.tables.ai.conftest import AiGrid

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]
ROWS = 100_000
_FILL = """
INSERT INTO {rows} (pos, {text}, {number})
SELECT n, 'Text ' || n || repeat(' and more', n %% 20), n FROM generate_series(1, %s) n
"""
_ANSWER = """
INSERT INTO {answers} (row_id, state, run, at, {output})
SELECT id, 'done', %s, now(), 'An answer' FROM {rows}
"""


@pytest.fixture
def full(grid: AiGrid) -> AiGrid:
    """Alice's table, with many rows."""
    fill = statement(
        _FILL,
        rows=rows_table(grid.id),
        text=column(grid.key("Text")),
        number=column(grid.key("Number")),
    )
    execute(fill, [ROWS])
    execute(statement("ANALYZE {rows}", rows=rows_table(grid.id)))
    Table.objects.filter(pk=grid.id).update(row_count=ROWS)
    return grid


def _timed(send: Any) -> tuple[Any, float, int]:
    """What it gives, the seconds, and how many statements it was."""
    began = time.perf_counter()
    with CaptureQueriesContext(
        connection,
    ) as queries:
        found = send()
    return found, time.perf_counter() - began, len(queries)


def test_a_run_over_all_rows_is_there_at_once(full: AiGrid) -> None:
    condition = {"field": full.key("Number"), "op": "lte", "value": 90_000}
    summary = full.add_ai("Summary", condition=condition)
    path = f"/ai-fields/{summary['id']}"
    estimated, seconds, _ = _timed(lambda: full.api("post", f"{path}:estimate", {"scope": {}}))
    assert (estimated["rows"], estimated["skipped"]) == (90_000, 10_000)
    assert seconds < 10
    made, seconds, queries = _timed(lambda: full.start(summary))
    assert made["runs"][0]["counts"]["pending"] == 90_000
    assert made["runs"][0]["counts"]["skipped"] == 10_000
    # Promised within a second on a machine that does nothing else.
    assert seconds < 10
    assert queries < 60
    turn()
    assert Run.objects.get(pk=made["id"]).open > 0
    counts, seconds, _ = _timed(lambda: full.states(summary))
    assert counts["none"] + counts["queued"] == ROWS
    assert seconds < 10
    # More than a run may have are refused, and nothing is stored.
    execute(statement("INSERT INTO {rows} (pos) VALUES (0)", rows=rows_table(full.id)))
    refused = full.start(summary, which="all", status=400)
    assert refused["errors"][0]["field"] == "scope"
    assert Run.objects.count() == 1


def test_a_run_of_all_rows_is_retried_and_taken_back(full: AiGrid) -> None:
    summary = full.add_ai("Summary")
    made = full.start(summary)
    run_id, rows = made["id"], RunRow.objects.filter(run=made["id"])
    rows.update(state="failed", error={"code": "provider_bad_request"})
    Run.objects.filter(pk=run_id).update(state="done", pending=0, failed=ROWS)
    retried, seconds, queries = _timed(lambda: full.act(run_id, "retry-failed"))
    assert retried["counts"]["pending"] == ROWS
    assert rows.filter(state="pending").count() == ROWS
    assert seconds < 60
    assert queries < 30
    answer = statement(
        _ANSWER,
        answers=answers_table(summary["id"]),
        rows=rows_table(full.id),
        output=column(Field.objects.get(ai_field=summary["id"]).column),
    )
    execute(answer, [run_id])
    Run.objects.filter(pk=run_id).update(state="done", pending=0, failed=0, succeeded=ROWS)
    reverted, seconds, queries = _timed(lambda: full.act(run_id, "revert"))
    assert reverted == {"rows": ROWS}
    assert full.states(summary)["none"] == ROWS
    assert seconds < 60
    assert queries < 30
