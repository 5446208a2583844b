"""Samples of a run's rows, as the tasks that they would become."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec

from aily.database.rows import Row, fetch_column, fetch_rows
from aily.problems import InvalidRequest, Problem
from chat.exceptions import because
from chat.models import LLMModel, Run, RunRow, Task
from chat.reasons import Reason
from chat.runs.kinds import SampledRow, kind_of
from chat.runs.submitting import as_problem
from chat.services.rendering import render_now
from chat.services.submission import TaskRequest
from chat.services.submit import Submission
from chat.services.submit.draft import draft_tasks

#: Rows whose prompts are rendered.
SAMPLE_ROWS = 40
#: Further samples that are rendered at most if none of the first can be sent.
MAX_SEARCHES = 25

#: Evenly spread by number, which costs an index probe a row.
_SAMPLE = """
SELECT DISTINCT ON (number) number, payload, key, bytes
  FROM generate_series(0, %(limit)s - 1) AS place
 CROSS JOIN LATERAL (
   SELECT number, payload::text AS payload, key, payload_bytes AS bytes FROM chat_runrow
    WHERE run_id = %(run_id)s AND state NOT IN ('invalid', 'skipped')
      AND number > place::bigint * %(total)s / %(limit)s
    ORDER BY number LIMIT 1) found
 ORDER BY number
"""
_NEXT = """
SELECT number, payload::text AS payload, key, payload_bytes AS bytes FROM chat_runrow
 WHERE run_id = %(run_id)s AND state = 'pending' AND payload IS NOT NULL
   AND number > %(after)s
 ORDER BY number LIMIT %(limit)s
"""


class _Sampled(Row, frozen=True):
    number: int
    payload: str
    key: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Sample:
    """Rows of a run as the tasks that they would become."""

    tasks: list[tuple[int, Task]]
    #: Rows that cannot be sent, in order.
    refused: list[tuple[SampledRow, Problem]]

    @property
    def problems(self) -> list[dict[str, object]]:
        return [{"row": row.number, **problem.as_error()} for row, problem in self.refused]

    @property
    def model(self) -> LLMModel:
        return self.tasks[0][1].model


def sample(run: Run, rows: int = SAMPLE_ROWS) -> Sample:
    """Render a sample of the rows; nothing is stored. If none of them can be sent, others are
    looked at. Raises InvalidRequest or another Problem if none of those can be sent either."""
    drafted = _draft(run, _rows_of_sample(run, rows))
    if not drafted.tasks:
        drafted = next((found for found in _search(run, drafted) if found.tasks), drafted)
    return _require_tasks(drafted)


def draft_rows(run: Run, rows: Sequence[SampledRow]) -> Sample:
    """`sample` of these rows."""
    return _require_tasks(_draft(run, rows))


def _require_tasks(drafted: Sample) -> Sample:
    if drafted.tasks:
        return drafted
    for _, problem in drafted.refused:
        raise problem
    raise because(InvalidRequest, Reason("no_sendable_row"))


def _draft(run: Run, rows: Sequence[SampledRow]) -> Sample:
    submissions: list[tuple[SampledRow, Submission]] = []
    refused: list[tuple[SampledRow, Problem]] = []
    for row in rows:
        try:
            request = kind_of(run).request_of(run, _run_row(run, row))
        except Exception as error:  # noqa: BLE001 - shown with the row
            refused.append((row, as_problem(error)))
        else:
            submissions.append((row, _submission(run, request)))
    drafts = draft_tasks([submission for _, submission in submissions], render_now)
    tasks: list[tuple[int, Task]] = []
    for (row, _), draft in zip(submissions, drafts, strict=True):
        if isinstance(draft, Task):
            tasks.append((row.bytes, draft))
        else:
            refused.append((row, as_problem(draft)))
    refused.sort(key=lambda pair: pair[0].number)
    return Sample(tasks, refused)


def _run_row(run: Run, row: SampledRow) -> RunRow:
    return RunRow(run_id=run.pk, payload=row.payload, key=row.key)


def _search(run: Run, drafted: Sample) -> Iterator[Sample]:
    """Further samples of a run: its pending rows, in order. None where what was refused in
    `drafted` would be refused of any row."""
    kind = kind_of(run)
    if any(kind.refuses_all(run, _run_row(run, row), problem) for row, problem in drafted.refused):
        return
    after = 0
    for _ in range(MAX_SEARCHES):
        params = {"run_id": run.pk, "limit": SAMPLE_ROWS, "after": after}
        rows = _sampled(_NEXT, params)
        if not rows:
            return
        yield _draft(run, rows)
        after = rows[-1].number


def _rows_of_sample(run: Run, limit: int) -> Sequence[SampledRow]:
    found = kind_of(run).sample_rows(run, limit)
    if found is not None:
        return found
    return _sampled(_SAMPLE, {"run_id": run.pk, "limit": limit, "total": run.total})


def _sampled(statement: str, params: dict[str, object]) -> list[SampledRow]:
    return [
        SampledRow(row.number, row.key, msgspec.json.decode(row.payload), row.bytes)
        for row in fetch_rows(_Sampled, statement, params)
    ]


def _submission(run: Run, request: TaskRequest) -> Submission:
    return Submission(
        owner_id=run.owner_id,
        request=request,
        api_key_id=run.api_key_id,
        is_version_pinned=run.scene_version is not None,
    )


# --- Rows to try --------------------------------------------------------------------------------
_STRATA = """
SELECT number FROM (
  SELECT number, row_number() OVER (ORDER BY payload_bytes, number) - 1 AS place,
         count(*) OVER () AS rows
    FROM chat_runrow WHERE run_id = %(run_id)s AND state = 'pending') sized
 WHERE place IN (SELECT ((i + 0.5) * rows / %(limit)s)::int
                   FROM generate_series(0, %(limit)s - 1) AS i)
    OR rows <= %(limit)s
 ORDER BY number LIMIT %(limit)s
"""


def rows_to_try(run: Run, rows: int) -> list[int]:
    """Numbers of pending rows that stand for all: the middles of strata of equal size, by bytes."""
    return fetch_column(int, _STRATA, {"run_id": run.pk, "limit": rows})
