"""The fields of a table as operands of queries."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import cast

from psycopg import sql

from accounts.models import User
from chat.tables.fields import live_fields as live_fields
from chat.tables.models import Field, Kind
from chat.tables.names import answers_table, column, links_table, rows_table
from chat.tables.permissions import Access, has_access
from chat.tables.queries.operands import (
    ROW,
    ROW_ID,
    LinkedTable,
    Operand,
    Operands,
    system_operands,
)
from chat.tables.values import choices

#: Kinds whose values stand for a row where it is linked to.
LABEL_KINDS = (Kind.TEXT, Kind.LONG_TEXT, Kind.EMAIL, Kind.URL, Kind.INTEGER, Kind.NUMBER)
#: Gives the SQL of the state of an AI field's answer, which is the joined row `a<id>`.
AnswerState = Callable[[int], sql.Composable]


def _stored_state(ai_field_id: int) -> sql.Composable:
    return sql.SQL("{}.state::text").format(_alias(ai_field_id))


_answer_state: AnswerState = _stored_state


def register_answer_state(state: AnswerState) -> None:
    """Let `state` say what state an answer has, computed ones such as `stale` included."""
    global _answer_state
    _answer_state = state


def _state_of(ai_field_id: int) -> sql.Composable:
    return _answer_state(ai_field_id)


def operands_of(fields: Iterable[Field], reader: User | None = None) -> Operands:
    """What conditions and sorts may name: these fields, and what each row has by itself.

    `reader`: the user, who sees nothing of linked tables that they may not read. None: the
    program itself. One query if there are links, however many.
    """
    fields = list(fields)
    labels = label_fields([_target(field) for field in fields if field.kind == Kind.LINK], reader)
    return {**system_operands(), **{field.key: _operand(field, labels) for field in fields}}


def _operand(field: Field, labels: dict[int, Field]) -> Operand:
    named = {str(choice["name"]): cast("int", choice["id"]) for choice in choices(field)}
    if field.kind == Kind.LINK:
        return Operand(field.key, field.kind, sql.SQL("NULL"), link=_link(field, labels))
    if field.ai_field_id is not None:
        alias = _alias(field.ai_field_id)
        return Operand(
            field.key,
            field.kind,
            sql.SQL("{}.{}").format(alias, column(field.column)),
            join=sql.SQL("LEFT JOIN {} {} ON {}.row_id = {}").format(
                answers_table(field.ai_field_id), alias, alias, ROW_ID
            ),
            state=partial(_state_of, field.ai_field_id),
            choices=named,
        )
    value = sql.SQL("{}.{}").format(ROW, column(field.column))
    return Operand(field.key, field.kind, value, choices=named)


def _alias(ai_field_id: int) -> sql.Identifier:
    return sql.Identifier(f"a{int(ai_field_id)}")


# --- Links --------------------------------------------------------------------------------------
def _target(field: Field) -> int:
    """The table that a link field links to."""
    return int(field.options.get("table") or 0)


def _link(field: Field, labels: dict[int, Field]) -> LinkedTable:
    target = _target(field)
    label = labels.get(target)
    return LinkedTable(
        links_table(field.pk),
        rows_table(target),
        sql.SQL("o.{}").format(column(label.column)) if label is not None else None,
    )


def label_fields(tables: Sequence[int], reader: User | None) -> dict[int, Field]:
    """Of each table the first field whose values can stand for a row, if the reader may know it."""
    if not tables:
        return {}
    found = Field.objects.filter(
        table__in=tables,
        table__deleted_at=None,
        deleted_at=None,
        ai_field=None,
        kind__in=LABEL_KINDS,
    ).select_related("table")
    return {
        field.table_id: field
        for field in found.order_by("-position", "-id")
        if reader is None or has_access(reader, field.table, Access.READ)
    }
