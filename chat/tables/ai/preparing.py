"""Reading what a page of a run's rows asks, when they are about to be fed: their values of that
moment, and whether there still is something to ask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import cast
from uuid import UUID

import msgspec
from psycopg import sql
from pydantic import JsonValue

from aily.database.rows import Row, fetch_column, fetch_rows
from aily.problems import Conflict, Forbidden, InvalidRequest
from chat.exceptions import because
from chat.models import Run, RunRow
from chat.reasons import Reason
from chat.runs.kinds import Prepared, SampledRow
from chat.tables.ai.config import condition_fields, field_id, mapped_fields
from chat.tables.ai.fields import check_links
from chat.tables.ai.inputs import digest_expression, inputs_expression
from chat.tables.ai.sources import Source
from chat.tables.models import AiRun, Field, Kind, Which
from chat.tables.names import answers_table, rows_table
from chat.tables.permissions import Access, has_access
from chat.tables.queries.catalogue import live_fields, operands_of
from chat.tables.queries.filters import compile_filter
from chat.tables.queries.statement import Statement

_FOUND = """
SELECT t.id, ({inputs})::text AS inputs, {condition} AS meets,
       coalesce(own.state, 'none') AS state,
       own.at IS NULL AND own.edited_at IS NULL AS is_empty,
       own.digest IS DISTINCT FROM {digest} OR own.config IS DISTINCT FROM {config} AS is_stale,
       coalesce(own.verdict, 0) AS verdict,
       own.edited_at IS NOT NULL AS is_edited,
       coalesce(own.edited_at > {since}, false) AS is_edited_since,
       {failed} AS has_failed_input, {missing} AS has_no_input
"""
_UPSTREAM = """
EXISTS (SELECT FROM (SELECT t.id) this LEFT JOIN {answers} x ON x.row_id = this.id
         WHERE {condition})
"""
_HAS_FAILED = sql.SQL("x.state = 'failed'")
_HAS_NONE = sql.SQL("x.at IS NULL AND x.edited_at IS NULL")
_BUSY = """
SELECT r.number FROM chat_runrow r
 WHERE r.run_id = ANY(%(runs)s) AND r.number = ANY(%(numbers)s) AND r.state IN ('pending', 'open')
"""
_SAMPLE = """
SELECT DISTINCT ON (number) number, key, bytes
  FROM generate_series(0, %(limit)s - 1) AS place
 CROSS JOIN LATERAL (
   SELECT number, key, payload_bytes AS bytes FROM chat_runrow
    WHERE run_id = %(run_id)s AND state <> 'skipped'
      AND number > place::bigint * %(total)s / %(limit)s
    ORDER BY number LIMIT 1) found
 ORDER BY number
"""
_EQUAL = """
SELECT count(*) - count(DISTINCT {digest})
  FROM chat_runrow r JOIN {rows} t ON t.id = r.key::bigint
 WHERE r.run_id = %(run_id)s AND r.state IN ('pending', 'open')
"""


class _Found(Row, frozen=True):
    """A row of the table, as it is now."""

    id: int
    #: JSON.
    inputs: str
    meets: bool
    state: str
    is_empty: bool
    is_stale: bool
    verdict: int
    is_edited: bool
    is_edited_since: bool
    has_failed_input: bool
    has_no_input: bool


class _Sampled(Row, frozen=True):
    number: int
    key: str
    bytes: int


class _Inputs(Row, frozen=True):
    id: int
    #: JSON.
    inputs: str


@dataclass(frozen=True, slots=True)
class RunSource:
    """A run of an AI field, with the fields of its table."""

    ai_run: AiRun
    fields: dict[int, Field]

    @property
    def mapping(self) -> dict[str, object]:
        mapping: dict[str, object] = self.ai_run.config.content["mapping"]
        return mapping


def load_run_source(run_id: UUID) -> RunSource:
    """Two queries. Raises Conflict if the field or its table is not there any more, and Forbidden
    or InvalidRequest if the run's owner may not run it any more, or not read what it reads."""
    related = ("ai_field", "table", "config", "run__owner")
    found = AiRun.objects.select_related(*related).filter(pk=run_id).first()
    if found is None or found.ai_field.deleted_at is not None or found.table.deleted_at is not None:
        raise because(Conflict, Reason("ai_field_deleted"), field="ai_field")
    source = RunSource(found, {field.pk: field for field in live_fields(found.table_id)})
    _require_access(source)
    return source


def _require_access(source: RunSource) -> None:
    """Access may have been taken back since the run was made. No query without links."""
    ai_run = source.ai_run
    owner = ai_run.run.owner
    if not owner.is_active or not has_access(owner, ai_run.table, Access.RUN):
        raise because(Forbidden, Reason("starter_denied"))
    read = {
        *mapped_fields(source.mapping),  # type: ignore[arg-type]
        *condition_fields(ai_run.condition),
    }
    check_links(owner, [source.fields[number] for number in read if number in source.fields])


# --- Reading ------------------------------------------------------------------------------------
def read_rows(source: RunSource, row_ids: Sequence[int], since: datetime) -> dict[int, _Found]:
    """The rows that are there, by id, in one statement, or two if links are read.

    Raises InvalidRequest if a mapped field is not there any more.
    """
    ai_run = source.ai_run
    statement = Statement(rows_table(ai_run.table_id), operands_of(source.fields.values()))
    mapped = _mapped(source)
    inputs = inputs_expression(mapped, statement.operands)
    condition = compile_filter(statement, ai_run.condition, "condition")
    read = {*(field.pk for field in mapped), *condition_fields(ai_run.condition)}
    upstream = sorted(
        {filler for number in read if (filler := _filler(source, number)) is not None}
    )
    select = sql.SQL(_FOUND).format(
        inputs=inputs,
        condition=condition,
        digest=digest_expression(inputs),
        config=statement.param(bytes(ai_run.config.digest), "bytea"),
        since=statement.param(since, "timestamptz"),
        failed=_any_upstream(upstream, _HAS_FAILED),
        missing=_any_upstream(upstream, _HAS_NONE),
    )
    own = sql.SQL("LEFT JOIN {} own ON own.row_id = t.id").format(answers_table(ai_run.ai_field_id))
    ids = statement.param(list(row_ids), "bigint[]")
    whole = sql.SQL("{} {} {} WHERE t.id = ANY({})").format(select, statement.source(), own, ids)
    return {row.id: row for row in fetch_rows(_Found, whole.as_string(), statement.params)}


def _mapped(source: RunSource) -> list[Field]:
    numbers = mapped_fields(source.mapping)  # type: ignore[arg-type]
    for variable, key in source.mapping.items():
        number = field_id(key) if isinstance(key, str) else None
        if number is not None and number not in source.fields:
            raise because(
                InvalidRequest, Reason("mapped_field_deleted"), field=f"mapping.{variable}"
            )
    return [source.fields[number] for number in numbers]


def _filler(source: RunSource, number: int) -> int | None:
    field = source.fields.get(number)
    return field.ai_field_id if field is not None else None


def _any_upstream(ai_field_ids: Sequence[int], condition: sql.SQL) -> sql.Composable:
    """Whether the answer of one of these AI fields is so."""
    found = [
        sql.SQL(_UPSTREAM).format(answers=answers_table(ai_field_id), condition=condition)
        for ai_field_id in ai_field_ids
    ]
    return sql.SQL("({})").format(sql.SQL(" OR ").join([sql.SQL("false"), *found]))


# --- Deciding -----------------------------------------------------------------------------------
def prepare(run: Run, source: RunSource, rows: Sequence[RunRow]) -> Prepared:
    """Give rows their payloads, skip those with nothing to ask, let wait what other runs are still
    to fill the inputs of."""
    found = read_rows(source, [int(row.key) for row in rows], run.created_at)
    busy = _busy(source.ai_run, rows)
    prepared = Prepared([])
    for row in rows:
        now = found.get(int(row.key))
        if row.number in busy:
            prepared.waiting.append(row.number)
        elif reason := _reason_to_skip(source.ai_run, now):
            prepared.skipped[row.number] = {"code": reason, "message": REASONS[reason]}
        elif now is not None:
            row.payload = msgspec.json.decode(now.inputs)
            prepared.rows.append(row)
            prepared.payloads[row.number] = now.inputs
    return prepared


def _busy(ai_run: AiRun, rows: Sequence[RunRow]) -> set[int]:
    """Numbers of rows that a run which this one waits for has not ended yet."""
    if not ai_run.waits_for:
        return set()
    runs = [UUID(run_id) for run_id in ai_run.waits_for]
    params = {"runs": runs, "numbers": [row.number for row in rows]}
    return set(fetch_column(int, _BUSY, params))


#: Why a row is skipped.
REASONS = {
    "row_deleted": "The row has been deleted.",
    "condition": "The row does not meet the field's condition.",
    "edited": "The cell was edited by hand.",
    "input_failed": "A field that this one reads has failed.",
    "input_missing": "A field that this one reads has no answer.",
    "not_empty": "The cell has been filled meanwhile.",
    "not_stale": "The cell is up to date.",
    "not_failed": "The cell has been filled meanwhile.",
    "not_rejected": "The cell is not rejected any more.",
}


def _reason_to_skip(ai_run: AiRun, row: _Found | None) -> str:
    """Why there is nothing to ask about the row; empty if there is."""
    if row is None:
        return "row_deleted"
    is_edited = row.is_edited_since or (row.is_edited and not ai_run.overwrites_edited)
    reasons = {
        "input_failed": row.has_failed_input,
        "input_missing": row.has_no_input,
        "condition": not row.meets,
        # A comparison writes to no cell.
        "edited": is_edited and ai_run.comparison_id is None,
    }
    found = next((reason for reason, holds in reasons.items() if holds), "")
    return found or _reason_by_which(Which(ai_run.which), row)


def _reason_by_which(which: Which, row: _Found) -> str:
    match which:
        case Which.EMPTY if not row.is_empty:
            return "not_empty"
        case Which.STALE | Which.EMPTY_OR_STALE if not row.is_stale:
            return "not_stale"
        case Which.FAILED if row.state != "failed":
            return "not_failed"
        case Which.REJECTED if row.verdict != -1:
            return "not_rejected"
    return ""


# --- Sampling -----------------------------------------------------------------------------------
def sample(run: Run, source: RunSource, limit: int) -> list[SampledRow]:
    """Rows of the run, evenly spread, with what they would ask now."""
    params = {"run_id": run.pk, "limit": limit, "total": run.total}
    rows = fetch_rows(_Sampled, _SAMPLE, params)
    found = read_rows(source, [int(row.key) for row in rows], run.created_at)
    expected = _expected_answers(source) if source.ai_run.waits_for else {}
    return [
        SampledRow(row.number, row.key, _assumed(found[int(row.key)].inputs, expected), row.bytes)
        for row in rows
        if int(row.key) in found
    ]


def count_equal(run: Run, source: RunSource) -> int:
    """How many of the rows to come ask what another one of them asks as well: one statement over
    them. None where they ask about answers that are not there yet."""
    if source.ai_run.waits_for:
        return 0
    inputs = inputs_expression(_mapped(source), operands_of(source.fields.values()))
    composed = sql.SQL(_EQUAL).format(
        digest=digest_expression(inputs), rows=rows_table(source.ai_run.table_id)
    )
    [equal] = fetch_column(int, composed.as_string(), {"run_id": run.pk})
    return equal


#: Placeholder of an answer that is not there yet, by the kind of its field; else empty.
_ASSUMED = {
    Kind.TEXT: "answer",
    Kind.LONG_TEXT: " ".join(["answer"] * 40),
    Kind.INTEGER: 1,
    Kind.NUMBER: 1.5,
    Kind.BOOLEAN: True,
    Kind.DATE: "2026-01-31",
    Kind.DATETIME: "2026-01-31T12:00:00Z",
    Kind.URL: "https://example.com/answer",
    Kind.EMAIL: "answer@example.com",
}


def _expected_answers(source: RunSource) -> dict[str, object]:
    """Return example answers, by the keys of the fields that other runs fill first."""
    return {
        field.key: _ASSUMED.get(Kind(field.kind))
        for field in source.fields.values()
        if field.ai_field_id is not None
    }


def _assumed(inputs: str, expected: Mapping[str, object]) -> dict[str, JsonValue]:
    """The inputs, with what is expected in place of what is not there yet."""
    given: dict[str, JsonValue] = msgspec.json.decode(inputs)
    for key, value in given.items():
        if value is None and key in expected:
            given[key] = cast("JsonValue", expected[key])
    return given


def sample_of(source: Source, row_ids: Sequence[int]) -> list[SampledRow]:
    """These rows of the table, with what they would ask now, for a run that is not made."""
    table = rows_table(source.ai_field.table_id)
    select = sql.SQL("SELECT t.id, ({})::text AS inputs FROM {} t WHERE t.id = ANY(%(ids)s)")
    composed = select.format(source.inputs, table).as_string()
    found = fetch_rows(_Inputs, composed, {"ids": list(row_ids)})
    return [
        SampledRow(place, str(row.id), msgspec.json.decode(row.inputs), len(row.inputs.encode()))
        for place, row in enumerate(found, 1)
    ]
