"""What a row gives to an AI field: the mapped values as JSON, and their digest.

Both are expressions of the row `t`, carried out by PostgreSQL alone: a second canonical form in
Python would drift from it. Names in the JSON are keys of fields, such as `f12`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from psycopg import sql

from chat.tables.ai.config import DIGEST_BYTES
from chat.tables.models import Field, Kind
from chat.tables.names import answers_table, column
from chat.tables.queries.operands import Operands

#: PostgreSQL's functions take 100 arguments.
_PAIRS_A_CALL = 40

#: Options by their ids. Without a reference to the row: it is carried out once a statement.
_CHOICES = """
(SELECT jsonb_object_agg(choice.value->>'id', choice.value->'name')
   FROM tables_field f, jsonb_array_elements(f.options->'choices') choice(value)
  WHERE f.id = {field})
"""
_SELECT = "({choices} -> ({value})::text)"
_MULTI_SELECT = """
(SELECT jsonb_agg({choices} -> u.c::text ORDER BY u.n)
   FROM unnest({value}) WITH ORDINALITY u(c, n))
"""
_LINK = """
(SELECT jsonb_agg({label} ORDER BY l.pos, l.other_id)
   FROM {pairs} l JOIN {table} o ON o.id = l.other_id WHERE l.row_id = t.id)
"""
#: Of a table that is gone, or has no field that could stand for its rows.
_LINK_IDS = """
(SELECT jsonb_agg(l.other_id::text ORDER BY l.pos, l.other_id)
   FROM {pairs} l WHERE l.row_id = t.id)
"""
_ANSWER = "(SELECT x.{column} FROM {answers} x WHERE x.row_id = t.id)"
#: In UTC, whatever the time zone of the session.
_DATETIME = "to_jsonb(replace((({value}) AT TIME ZONE 'UTC')::text, ' ', 'T') || 'Z')"
_DIGEST = "substring(sha256(convert_to(({inputs})::text, 'UTF8')) from 1 for {bytes})"


def inputs_expression(fields: Iterable[Field], operands: Operands) -> sql.Composable:
    """The values of these fields as a JSON object."""
    pairs = [
        sql.SQL("{}, {}").format(sql.Literal(field.key), _value(field, operands))
        for field in fields
    ]
    if not pairs:
        return sql.SQL("'{{}}'::jsonb").format()
    objects = [
        sql.SQL("jsonb_build_object({})").format(sql.SQL(", ").join(pairs[at : at + _PAIRS_A_CALL]))
        for at in range(0, len(pairs), _PAIRS_A_CALL)
    ]
    return sql.SQL("({})").format(sql.SQL(" || ").join(objects))


def digest_expression(inputs: sql.Composable) -> sql.Composable:
    """The first bytes of the SHA-256 of the inputs' text."""
    return sql.SQL(_DIGEST).format(inputs=inputs, bytes=sql.Literal(DIGEST_BYTES))


def _value(field: Field, operands: Operands) -> sql.Composable:
    link = operands[field.key].link
    if link is not None:
        if link.label is None:
            return sql.SQL(_LINK_IDS).format(pairs=link.pairs)
        parts: Mapping[str, sql.Composable] = {
            "label": link.label,
            "pairs": link.pairs,
            "table": link.table,
        }
        return sql.SQL(_LINK).format(**parts)
    value = _cell(field)
    chosen = {"choices": sql.SQL(_CHOICES).format(field=sql.Literal(field.pk)), "value": value}
    match Kind(field.kind):
        case Kind.SELECT:
            return sql.SQL(_SELECT).format(**chosen)
        case Kind.MULTI_SELECT:
            return sql.SQL(_MULTI_SELECT).format(**chosen)
        case Kind.DATETIME:
            return sql.SQL(_DATETIME).format(value=value)
    return sql.SQL("to_jsonb({})").format(value)


def _cell(field: Field) -> sql.Composable:
    if field.ai_field_id is None:
        return sql.SQL("t.{}").format(column(field.column))
    parts: Mapping[str, sql.Composable] = {
        "column": column(field.column),
        "answers": answers_table(field.ai_field_id),
    }
    return sql.SQL(_ANSWER).format(**parts)


def read_fields(field_ids: Sequence[int], fields: Mapping[int, Field]) -> list[Field]:
    """The fields of these ids, in the order of their ids. Those in the trash are left out."""
    return [fields[number] for number in sorted(field_ids) if number in fields]
