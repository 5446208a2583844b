"""Which rows a run has: a snapshot of their ids in their order, made by one statement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from django.conf import settings
from psycopg import sql
from pydantic import JsonValue

from accounts.models import User
from aily.database.rows import Row, execute, fetch_rows
from aily.problems import InvalidRequest, NotFound
from chat.exceptions import because
from chat.models import Run
from chat.reasons import Reason
from chat.tables.ai.preparing import REASONS
from chat.tables.ai.sources import Source
from chat.tables.models import View, Which
from chat.tables.names import answers_table, rows_table
from chat.tables.queries.catalogue import live_fields, operands_of
from chat.tables.queries.execution import WORK_MEM
from chat.tables.queries.filters import compile_filter
from chat.tables.queries.sorts import compile_sorts
from chat.tables.queries.statement import TRUE, Statement, all_of
from chat.tables.stored_views import find_view

#: Rows that a scope may name one by one.
MAX_NAMED_ROWS = 10_000

_SCOPE = """
SELECT t.id, octet_length(({inputs})::text) AS bytes, {digest}{meets} AS meets,
       {wanted} AS wanted, random() AS luck, row_number() OVER (ORDER BY {order}) AS place
  {source} {own} WHERE {condition} ORDER BY place LIMIT {limit}
"""
#: Places are those among all rows of the scope; numbers those among the rows of the run.
_PICKED = """
WITH scope AS MATERIALIZED ({scope}),
picked AS MATERIALIZED (
  SELECT *, row_number() OVER (ORDER BY {by}) AS number FROM scope WHERE {kept}
   ORDER BY {by} LIMIT {limit})
"""
_INSERT = """
, inserted AS (
  INSERT INTO chat_runrow (run_id, number, line, key, payload_bytes, state, error, ended_at,
                           generation, tries, prompt_tokens, completion_tokens, cost)
  SELECT {run}, number, number, id::text, bytes,
         CASE WHEN {pending} THEN 'pending' ELSE 'skipped' END,
         CASE WHEN {pending} THEN NULL ELSE {why} END,
         CASE WHEN {pending} THEN NULL ELSE now() END, 0, 0, 0, 0, 0
    FROM picked
  RETURNING state, payload_bytes)
SELECT count(*) AS total, count(*) FILTER (WHERE state = 'pending') AS pending,
       coalesce(sum(payload_bytes) FILTER (WHERE state = 'pending'), 0)::bigint AS bytes
  FROM inserted
"""
_COPY = """
WITH inserted AS (
  INSERT INTO chat_runrow (run_id, number, line, key, payload_bytes, state,
                           generation, tries, prompt_tokens, completion_tokens, cost)
  SELECT %(run_id)s, number, line, key, payload_bytes, 'pending', 0, 0, 0, 0, 0
    FROM chat_runrow WHERE run_id = %(first)s
  RETURNING payload_bytes)
SELECT count(*) AS total, count(*) AS pending, coalesce(sum(payload_bytes), 0)::bigint AS bytes
  FROM inserted
"""
_SURVEY = """
SELECT count(*) AS total, count(*) FILTER (WHERE meets) AS rows,
       coalesce(sum(bytes) FILTER (WHERE meets), 0)::bigint AS bytes,
       count(*) FILTER (WHERE meets) - count(DISTINCT digest) FILTER (WHERE meets) AS duplicates,
       (SELECT count(*) FROM scope) AS in_scope,
       coalesce(array_agg(id ORDER BY number) FILTER (
         WHERE meets AND number %% greatest((SELECT count(*) FROM picked) / {sample}, 1) = 0),
         '{{}}') AS sample
  FROM picked
"""
_SET_COUNTS = """
UPDATE chat_run SET total = %(total)s, pending = %(pending)s, skipped = %(total)s - %(pending)s,
       input_bytes = %(bytes)s WHERE id = %(run_id)s
"""


class _Inserted(Row, frozen=True):
    total: int
    pending: int
    bytes: int


class Survey(Row, frozen=True):
    """Rows of a run that is not made. `rows` meet the condition; `sample`: ids of some of them."""

    total: int
    rows: int
    bytes: int
    duplicates: int
    in_scope: int
    sample: list[int]


@dataclass(frozen=True, slots=True)
class Scope:
    """Which rows of a table, and which of their cells.

    Rows: those of a view or filter, in its order, or `rows`; of these the `first`. Cells: `which`.
    Of the rows that are left, `random` ones.
    """

    view: int | None = None
    filter: JsonValue = None
    rows: Sequence[int] | None = None
    first: int | None = None
    random: int | None = None
    which: Which = Which.EMPTY
    overwrites_edited: bool = False
    # Of runs that policies make:
    #: Rows that were changed later than so many seconds ago are left for the next run.
    settled_seconds: int | None = None
    #: Whether cells are filled that have failed before.
    repeats_failed: bool = True
    #: Most rows of the run.
    limit: int | None = None


class _Query:
    """The statement on a scope, and its parameters."""

    def __init__(self, user: User, source: Source, scope: Scope, *, keeps_all: bool) -> None:
        table_id = source.ai_field.table_id
        self.scope = scope
        self._user = user
        self._source = source
        operands = operands_of(live_fields(table_id), user)
        self.statement = Statement(rows_table(table_id), operands)
        self._keeps_all = keeps_all

    def compose(self, rest: sql.Composable, *, has_digests: bool = False) -> str:
        """`has_digests`: `rest` reads the column `digest`, which takes 2 µs a row."""
        statement, scope = self.statement, self.scope
        conditions, order = self._rows_in_order()
        meets = compile_filter(statement, self._source.ai_field.condition, "condition")
        inner = sql.SQL(_SCOPE).format(
            inputs=self._source.inputs,
            digest=sql.SQL("{} AS digest, ").format(self._source.digest)
            if has_digests
            else sql.SQL(""),
            meets=meets,
            wanted=self._wanted(),
            order=order,
            source=statement.source(),
            own=sql.SQL("LEFT JOIN {} own ON own.row_id = t.id").format(
                answers_table(self._source.ai_field.pk)
            ),
            condition=all_of(conditions),
            limit=self._limit(scope.first),
        )
        picked = sql.SQL(_PICKED).format(
            scope=inner,
            by=sql.SQL("place") if scope.random is None else sql.SQL("luck"),
            kept=TRUE if self._keeps_all else sql.SQL("wanted"),
            limit=self._limit(scope.random, scope.limit, settings.RUN_MAX_ROWS + 1),
        )
        return sql.SQL("{} {}").format(picked, rest).as_string()

    def _rows_in_order(self) -> tuple[list[sql.Composable], sql.Composable]:
        """The conditions of a row of the scope, and the order of its rows."""
        statement, scope = self.statement, self.scope
        view = _view(self._user, self._source.ai_field.table_id, scope)
        conditions = [compile_filter(statement, scope.filter, "scope.filter")]
        order: sql.Composable = sql.SQL("t.id")
        if view is not None:
            conditions.append(compile_filter(statement, view.filter, "scope.view"))
            keys = compile_sorts(statement, view.sorts, view.collation)
            order = sql.SQL(", ").join([key.ordered() for key in keys])
        if scope.rows is not None:
            named = statement.param(list(scope.rows), "bigint[]")
            conditions.append(sql.SQL("t.id = ANY({})").format(named))
        if scope.settled_seconds is not None:
            seconds = statement.param(scope.settled_seconds, "float")
            conditions.append(
                sql.SQL("t.updated_at < now() - make_interval(secs => {})").format(seconds)
            )
        return conditions, order

    def _limit(self, *limits: int | None) -> sql.Composable:
        given = [limit for limit in limits if limit is not None]
        return self.statement.param(min(given) if given else None, "bigint")

    def _wanted(self) -> sql.Composable:
        """Whether the cell is one that the run is to fill."""
        state = {
            "digest": self._source.digest,
            "config": sql.SQL("decode({}, 'hex')").format(sql.Literal(self._source.config.hex())),
        }
        conditions: list[sql.Composable] = [sql.SQL(_WANTED[self.scope.which]).format(**state)]
        if not self.scope.overwrites_edited:
            conditions.append(sql.SQL("own.edited_at IS NULL"))
        if not self.scope.repeats_failed:
            conditions.append(sql.SQL("own.state IS DISTINCT FROM 'failed'"))
        return all_of(conditions)


_EMPTY = "(own.at IS NULL AND own.edited_at IS NULL)"
_STALE = (
    "(own.at IS NOT NULL"
    " AND (own.digest IS DISTINCT FROM {digest} OR own.config IS DISTINCT FROM {config}))"
)
_WANTED = {
    Which.EMPTY: _EMPTY,
    Which.STALE: _STALE,
    Which.EMPTY_OR_STALE: f"({_EMPTY} OR {_STALE})",
    Which.FAILED: "own.state IS NOT DISTINCT FROM 'failed'",
    Which.REJECTED: "own.verdict IS NOT DISTINCT FROM -1",
    Which.ALL: "true",
}


def _view(user: User, table_id: int, scope: Scope) -> View | None:
    """The view, which the user sees. What it says of deleted fields is an error: there would be
    more rows than its author saw."""
    if scope.view is None:
        return None
    try:
        view = find_view(user, scope.view)
    except NotFound:
        view = None
    if view is None or view.table_id != table_id:
        raise because(NotFound, Reason("no_such_view"), field="scope.view")
    return view


# --- Making rows --------------------------------------------------------------------------------
def insert_rows(
    user: User, run: Run, source: Source, scope: Scope, *, is_chained: bool = False
) -> None:
    """Insert the rows of a run that `user` starts, in the transaction that makes it.

    `is_chained`: others with the same rows follow, so rows that need nothing are kept as skipped.
    Raises InvalidRequest, and NotFound for a view that is not there.
    """
    query = _Query(user, source, scope, keeps_all=is_chained)
    pending = sql.SQL("meets AND wanted") if is_chained else sql.SQL("meets")
    why = {"code": "condition", "message": REASONS["condition"]}
    rest = sql.SQL(_INSERT).format(
        run=query.statement.param(run.pk, "uuid"),
        pending=pending,
        why=sql.SQL("jsonb_build_object('code', 'condition', 'message', {})").format(
            sql.Literal(why["message"])
        ),
    )
    # Else 100,000 rows are sorted and kept on disk.
    execute("SELECT set_config('work_mem', %s, true)", [WORK_MEM])
    [inserted] = fetch_rows(_Inserted, query.compose(rest), query.statement.params)
    _set_counts(run, inserted)


def copy_rows(run: Run, first: UUID) -> None:
    """Insert the rows that another run has, all pending: what they ask is seen as they are fed."""
    [inserted] = fetch_rows(_Inserted, _COPY, {"run_id": run.pk, "first": first})
    _set_counts(run, inserted)


def _set_counts(run: Run, inserted: _Inserted) -> None:
    if inserted.total > settings.RUN_MAX_ROWS:
        raise because(
            InvalidRequest,
            Reason.of("too_many_run_rows", limit=settings.RUN_MAX_ROWS),
            field="scope",
        )
    counts = {"total": inserted.total, "pending": inserted.pending, "bytes": inserted.bytes}
    execute(_SET_COUNTS, {"run_id": run.pk, **counts})
    run.total, run.pending, run.input_bytes = inserted.total, inserted.pending, inserted.bytes
    run.skipped = inserted.total - inserted.pending


def survey(user: User, source: Source, scope: Scope, sample: int) -> Survey:
    """What a run of this scope would have, in one statement that changes nothing."""
    query = _Query(user, source, scope, keeps_all=False)
    rest = sql.SQL(_SURVEY).format(sample=sql.Literal(sample))
    [found] = fetch_rows(Survey, query.compose(rest, has_digests=True), query.statement.params)
    return found
