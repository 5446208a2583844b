"""What went wrong with the rows of a run, in groups of the same code."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec

from aily.database.rows import Row, fetch_rows

MAX_GROUPS = 100
_GROUPS = """
SELECT code, left(coalesce(error->>'message', ''), 500) AS message, error->>'param' AS param,
       coalesce(error->'params', '{}')::text AS params_json, rows, numbers
  FROM (SELECT coalesce(error->>'code', '') AS code, count(*) AS rows,
               (array_agg(number ORDER BY number))[1:5] AS numbers
          FROM chat_runrow
         WHERE run_id = %(run_id)s AND state IN ('failed', 'invalid', 'expired', 'skipped')
           AND error IS NOT NULL
         GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT %(limit)s) groups
  JOIN LATERAL (SELECT error FROM chat_runrow
                 WHERE run_id = %(run_id)s AND number = numbers[1]) first ON true
 ORDER BY rows DESC, code
"""


class RunErrors(Row, frozen=True):
    """Rows that failed with the same code: how many, the first ones, and one's message."""

    code: str
    message: str
    param: str | None
    params_json: str
    rows: int
    numbers: list[int]

    @property
    def params(self) -> dict[str, Any]:
        return msgspec.json.decode(self.params_json, type=dict[str, Any])


def error_groups(run_id: UUID) -> list[RunErrors]:
    """The largest groups first, MAX_GROUPS at most."""
    return fetch_rows(RunErrors, _GROUPS, {"run_id": run_id, "limit": MAX_GROUPS})
