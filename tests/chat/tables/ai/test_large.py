"""A hundred thousand rows: what is done at once is one statement each. Slow."""

from __future__ import annotations

import time
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from aily.database.rows import execute
from chat.models import Run
from chat.tables.models import Table
from chat.tables.names import column, rows_table, statement
from tests.chat.runs.conftest import turn
from tests.chat.tables.ai.conftest import AiGrid

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]
ROWS = 100_000
_FILL = """
INSERT INTO {rows} (pos, {text}, {number})
SELECT n, 'Text ' || n || repeat(' and more', n %% 20), n FROM generate_series(1, %s) n
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
