"""What requests and responses about tables and fields look like."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from ninja import Schema
from pydantic import Field, JsonValue

from aily.rest.openapi import example
from aily.rest.requests import RequestSchema
from chat.tables.fields import MAX_FIELDS
from chat.tables.models import Field as TableField
from chat.tables.models import Table

KindName = Literal[
    "text", "long_text", "integer", "number", "boolean", "date", "datetime", "select",
    "multi_select", "url", "email", "json", "link",
]  # fmt: skip
_CLIENT = "Your own name for this tab or program: undo takes back what it did."
_OPTIONS = (
    'Of a select: `{"choices": [{"name": "Open", "color": "green"}]}`, where a choice that is '
    'kept has its id. Of a link: `{"table": 4}`. Of a number: `decimals` and `unit`.'
)


class FieldOut(Schema):
    model_config = example(
        id=12,
        key="f12",
        table=3,
        name="Priority",
        kind="select",
        options={"choices": [{"id": 1, "name": "High", "color": "red"}], "next_id": 2},
        position=2,
        ai_field=None,
        retype=None,
        created_at="2026-01-31T12:00:00Z",
        deleted_at=None,
    )

    id: int
    key: str = Field(description="Its name in the `values` of rows.")
    table: int = Field(alias="table_id")
    name: str
    kind: str
    options: dict[str, JsonValue]
    position: int
    ai_field: int | None = Field(None, alias="ai_field_id", description="The AI field it is of.")
    retype: dict[str, JsonValue] | None = Field(
        None, description="A change of its kind: how far it is, and what did not fit."
    )
    created_at: datetime
    deleted_at: datetime | None = Field(None, description="It is in the trash since.")


class TableItem(Schema):
    model_config = example(
        id=3,
        name="Tickets",
        description="",
        owner="alice",
        access=["read", "review", "run", "edit", "own"],
        rows=200,
        rev=41,
        created_at="2026-01-31T12:00:00Z",
        updated_at="2026-01-31T12:05:00Z",
        deleted_at=None,
    )

    id: int
    name: str
    description: str
    owner: str = Field(alias="owner.username")
    access: list[str] = Field(description="What you may do: read, review, run, edit, own.")
    rows: int = Field(alias="row_count")
    rev: int = Field(description="Raised by every change of rows and fields.")
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None = Field(None, description="It is in the trash since.")


class TableOut(Schema):
    """Without what changes with every row: its ETag stays as long as the table's own data."""

    model_config = example(
        id=3,
        name="Tickets",
        description="",
        owner="alice",
        access=["read", "review", "run", "edit", "own"],
        schema_rev=4,
        max_rows=1_000_000,
        fields=[{"id": 12, "key": "f12", "table": 3, "name": "Subject", "kind": "text",
                 "options": {}, "position": 1, "created_at": "2026-01-31T12:00:00Z"}],
        created_at="2026-01-31T12:00:00Z",
        updated_at="2026-01-31T12:05:00Z",
        deleted_at=None,
    )  # fmt: skip

    id: int
    name: str
    description: str
    owner: str = Field(alias="owner.username")
    access: list[str] = Field(description="What you may do: read, review, run, edit, own.")
    schema_rev: int = Field(description="Raised by every change of the fields.")
    max_rows: int = Field(alias="row_limit")
    fields: list[FieldOut] = Field(alias="shown_fields")
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None = Field(None, description="It is in the trash since.")


class TableFilter(Schema):
    search: str = Field("", max_length=200, description="Part of the name.")
    is_deleted: bool = Field(False, description="True: those in the trash.")
    ordering: Literal["name", "-name", "id", "-id"] = "-id"


class FieldIn(RequestSchema):
    model_config = example(
        name="Priority",
        kind="select",
        options={"choices": [{"name": "High", "color": "red"}, {"name": "Low"}]},
    )

    name: str
    kind: KindName
    options: dict[str, JsonValue] = Field(default_factory=dict, description=_OPTIONS)
    client: str = Field("", max_length=64, description=_CLIENT)


class FieldPatch(RequestSchema):
    model_config = example(name="Urgency")

    name: str | None = None
    kind: KindName | None = Field(
        None,
        description="Cells are converted a batch at a time; `retype` says how far it is, and "
        "what did not fit. The old cells are in the trash, as a field.",
    )
    options: dict[str, JsonValue] | None = Field(None, description=_OPTIONS)
    position: int | None = Field(None, ge=0, le=MAX_FIELDS, description="Its place, from 0.")
    client: str = Field("", max_length=64, description=_CLIENT)


class NewFieldIn(RequestSchema):
    model_config = example(name="Subject", kind="text")

    name: str
    kind: KindName
    options: dict[str, JsonValue] = Field(default_factory=dict, description=_OPTIONS)


class TableIn(RequestSchema):
    model_config = example(
        name="Tickets",
        fields=[{"name": "Subject", "kind": "text"}, {"name": "Arrived", "kind": "datetime"}],
    )

    name: str
    description: str = Field("", max_length=10_000)
    fields: list[NewFieldIn] = Field(default_factory=list, max_length=MAX_FIELDS)


class TablePatch(RequestSchema):
    model_config = example(name="Support tickets")

    name: str | None = None
    description: str | None = Field(None, max_length=10_000)
    max_rows: int | None = Field(
        None, ge=0, le=10_000_000, description="For staff. Null: TABLE_MAX_ROWS."
    )


def shown(table: Table, fields: list[TableField], access: list[str]) -> Table:
    """The table with what `TableOut` shows beside its columns."""
    table.shown_fields = fields  # type: ignore[attr-defined]
    table.access = access  # type: ignore[attr-defined]
    return table
