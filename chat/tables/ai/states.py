"""The state of an AI field's cell. Only done, failed and edited are stored: the others follow from
what the row, the field and its runs are now."""

from __future__ import annotations

from psycopg import sql

from aily.database.rows import Row, fetch_rows
from chat.tables.ai.sources import Source, load_sources
from chat.tables.models import AiField
from chat.tables.names import answers_table, rows_table, statement
from chat.tables.queries.execution import bounded_query


class _StateCount(Row, frozen=True):
    state: str
    cells: int


_OPEN_ROWS = """
t.id IN (SELECT r.key::bigint FROM chat_runrow r JOIN chat_task k ON k.id = r.task_id
          WHERE r.run_id = ANY({runs}) AND r.state = 'open' AND k.status {status})
"""
_STATE = """
CASE {open} WHEN {a}.row_id IS NULL THEN 'none' WHEN {a}.state = 'failed' THEN 'failed'
     WHEN {a}.verdict = -1 THEN 'rejected' WHEN {a}.state = 'edited' THEN 'edited'
     WHEN {a}.at IS NULL THEN 'none'
     WHEN {input_changed} OR {config_changed} THEN 'stale' ELSE 'done' END
"""


def input_changed(source: Source, alias: sql.Identifier) -> sql.Composable:
    """Whether the row's values differ from those that the answer was made from."""
    return sql.SQL("{}.digest IS DISTINCT FROM {}").format(alias, source.digest)


def config_changed(source: Source, alias: sql.Identifier) -> sql.Composable:
    """Whether the AI field's configuration differs from that of the answer."""
    digest = sql.SQL("decode({}, 'hex')").format(sql.Literal(source.config.hex()))
    return sql.SQL("{}.config IS DISTINCT FROM {}").format(alias, digest)


def state_expression(source: Source, alias: sql.Identifier) -> sql.Composable:
    """The state as a text. `alias`: the row of the answers that is joined to `t`."""
    return sql.SQL(_STATE).format(
        a=alias,
        open=_open(source),
        input_changed=input_changed(source, alias),
        config_changed=config_changed(source, alias),
    )


def _open(source: Source) -> sql.Composable:
    """Cells whose task has not ended: there are a few thousand at most."""
    if not source.active_runs:
        return sql.SQL("")
    runs = sql.SQL("ARRAY[{}]::uuid[]").format(
        sql.SQL(", ").join(sql.Literal(str(run_id)) for run_id in source.active_runs)
    )
    parts = []
    for state, status in (("running", "= 'running'"), ("queued", "<> 'running'")):
        rows = sql.SQL(_OPEN_ROWS).format(runs=runs, status=sql.SQL(status))
        parts.append(sql.SQL("WHEN {} THEN {}").format(rows, sql.Literal(state)))
    return sql.SQL(" ").join(parts)


_COUNT = """
SELECT {state} AS state, count(*) AS cells FROM {rows} t
  LEFT JOIN {answers} a ON a.row_id = t.id GROUP BY 1 ORDER BY 1
"""


def count_states(ai_field: AiField) -> dict[str, int]:
    """How many cells of an AI field are in each state. Reads the whole table: 1 s a million."""
    source = load_sources([ai_field.pk])[ai_field.pk]
    select = statement(
        _COUNT,
        state=state_expression(source, sql.Identifier("a")),
        rows=rows_table(ai_field.table_id),
        answers=answers_table(ai_field.pk),
    )
    with bounded_query():
        return {row.state: row.cells for row in fetch_rows(_StateCount, select)}


def answer_state(ai_field_id: int) -> sql.Composable:
    """The state of an answer whose row is joined as `a<id>`, for filters."""
    source = load_sources([ai_field_id]).get(ai_field_id)
    alias = sql.Identifier(f"a{int(ai_field_id)}")
    if source is None:
        return sql.SQL("{}.state").format(alias)
    return state_expression(source, alias)
