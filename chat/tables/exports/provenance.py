"""Provenance of AI fields in an export: columns beside the answers themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from psycopg import sql

from chat.tables.exports.columns import Column
from chat.tables.files.guessing import unique_name
from chat.tables.models import AiField, Field
from chat.tables.queries.statement import Statement

_VERSION = """
(SELECT c.content->>'version' FROM tables_aiconfig c
  WHERE c.ai_field_id = {ai_field} AND c.digest = {a}.config)::integer
"""
#: By the end of its name: kind and expression of each column. `{a}` is the row of the answer.
_COLUMNS: tuple[tuple[str, str, str], ...] = (
    ("state", "text", "{state}"),
    ("version", "integer", _VERSION),
    ("model", "text", "(SELECT m.name FROM chat_llmmodel m WHERE m.id = {a}.model)"),
    ("input tokens", "integer", "{a}.tokens_in"),
    ("output tokens", "integer", "{a}.tokens_out"),
    ("cost", "number", "trim_scale({a}.cost)"),
    ("currency", "text", "nullif({a}.currency, '')"),
    ("time", "datetime", "to_char({a}.at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')"),
    ("task", "text", "{a}.task"),
)


def provenance_columns(
    statement: Statement,
    fields: Sequence[Field],
    ai_fields: Sequence[AiField],
    *,
    is_json: bool = False,
) -> list[Column]:
    """State, version, model, tokens, cost, time and task of each AI field's answers.

    `fields` are those that are exported: an AI field has an output among them.
    """
    taken = {field.name.casefold() for field in fields}
    template = "to_jsonb({})" if is_json else "({})::text"
    found: list[Column] = []
    for ai_field in ai_fields:
        output = next(field for field in fields if field.ai_field_id == ai_field.pk)
        state = statement.operand(output.key, "fields").state
        parts = {
            "a": sql.Identifier(f"a{ai_field.pk}"),
            "ai_field": sql.Literal(ai_field.pk),
            "state": _called(state),
        }
        for ending, kind, expression in _COLUMNS:
            value = sql.SQL(expression).format(**parts)
            name = unique_name(f"{ai_field.name}: {ending}", taken)
            found.append(Column(name, kind, sql.SQL(template).format(value)))
    return found


def _called(state: Callable[[], sql.Composable] | None) -> sql.Composable:
    return state() if state is not None else sql.SQL("NULL")
