"""What requests and responses about rows look like."""

from __future__ import annotations

from typing import Annotated, Literal

from ninja import Schema
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from aily.rest.openapi import example
from aily.rest.requests import RequestSchema
from chat.tables.rows.batch import MAX_OPERATIONS
from chat.tables.rows.operations import Create, Delete, Operation, Update, Upsert
from chat.tables.values import MAX_ROW_ID

#: Rows of one answer.
MAX_ROWS = 500

Values = dict[str, JsonValue]
RowId = Annotated[int, Field(ge=1, le=MAX_ROW_ID)]
Version = Annotated[int, Field(ge=1, le=2**31 - 1)]

_VALUES = "By the fields' keys. null: an empty cell."
_WAS = (
    "Of cells as you saw them: one that others have changed since is not set. "
    "A cell that is left out is set in any case."
)
_VERSION = "Of the row as you saw it: no cell is set if anything of it has changed since."
_CLIENT = "Your own name for this tab or program: undo takes back what it did."


class TableRowOut(Schema):
    model_config = example(id=1, version=3, values={"f12": "A parcel is late."}, ai=None)

    id: int
    version: int
    values: Values
    ai: dict[str, JsonValue] | None = Field(None, description="The states of its AI fields.")


class RowIn(RequestSchema):
    model_config = example(values={})

    values: Values = Field(default_factory=dict, description=_VALUES)
    client: str = Field("", max_length=64, description=_CLIENT)


class RowPatch(RequestSchema):
    model_config = example(values={}, was={}, client="tab-1")

    values: Values = Field(description=_VALUES)
    was: Values = Field(default_factory=dict, description=_WAS)
    version: Version | None = Field(None, description=_VERSION)
    client: str = Field("", max_length=64, description=_CLIENT)


class RowsQuery(Schema):
    ids: list[RowId] = Field(
        default_factory=list, max_length=MAX_ROWS, description="Those, in this order."
    )
    after: int = Field(0, ge=0, le=MAX_ROW_ID, description="Without ids: those that follow this.")
    limit: int = Field(100, ge=1, le=MAX_ROWS)


class RowsOut(Schema):
    model_config = example(
        rev=41, rows=[{"id": 1, "version": 3, "values": {"f12": "Late."}}], next=None
    )

    rev: int = Field(description="The table's revision; the rows are as new, or newer.")
    rows: list[TableRowOut]
    next: int | None = Field(None, description="`after` of the next page; null: there is none.")


# --- Batches ------------------------------------------------------------------------------------
class _Part(BaseModel):
    """One of a thousand in a body. Ninja's Schema would wrap each in an object of its own, which
    takes a third of the request's time."""

    model_config = ConfigDict(extra="forbid", from_attributes=True)


class CreateIn(_Part):
    model_config = example(op="create", values={})

    op: Literal["create"]
    values: Values = Field(default_factory=dict, description=_VALUES)

    def operation(self) -> Operation:
        return Create(self.values)


class UpdateIn(_Part):
    model_config = example(op="update", id=1, values={}, was={})

    op: Literal["update"]
    id: RowId
    values: Values = Field(description=_VALUES)
    was: Values = Field(default_factory=dict, description=_WAS)
    version: Version | None = Field(None, description=_VERSION)

    def operation(self) -> Operation:
        return Update(self.id, self.values, self.was, self.version)


class DeleteIn(_Part):
    model_config = example(op="delete", id=1)

    op: Literal["delete"]
    id: RowId
    version: Version | None = Field(None, description=_VERSION)

    def operation(self) -> Operation:
        return Delete(self.id, self.version)


class UpsertIn(_Part):
    model_config = example(op="upsert", values={})

    op: Literal["upsert"]
    values: Values = Field(description=_VALUES)

    def operation(self) -> Operation:
        return Upsert(self.values)


OperationIn = Annotated[CreateIn | UpdateIn | DeleteIn | UpsertIn, Field(discriminator="op")]


class BatchIn(RequestSchema):
    model_config = example(operations=[{"op": "create", "values": {}}], atomic=True, client="tab-1")

    operations: list[OperationIn] = Field(min_length=1, max_length=MAX_OPERATIONS)
    atomic: bool = Field(
        True, description="All or nothing. False: each operation for itself, see `results`."
    )
    key: str | None = Field(
        None, max_length=40, description="The field whose value names the row of an upsert."
    )
    client: str = Field("", max_length=64, description=_CLIENT)


class ConflictOut(_Part):
    model_config = example(row=1, version=4, field="f12", value="Somebody else's text")

    row: int
    version: int
    field: str | None = Field(description="Null: the whole row, which was to be deleted.")
    value: JsonValue = Field(description="What the cell has now.")


class ResultError(_Part):
    model_config = example(
        code="invalid_value",
        message="Price: This must be a number.",
        field="operations.0.values.f12",
        params={"rule": "not_number"},
    )

    code: str
    message: str
    field: str | None = None
    params: dict[str, str | float] = Field(
        default_factory=dict, description="What a text in another language needs."
    )


class ResultOut(_Part):
    model_config = example(status="created", id=7, version=1, conflicts=[], error=None)

    status: Literal["created", "updated", "unchanged", "deleted", "conflict", "failed"]
    id: int | None = Field(None, alias="row_id")
    version: int | None = None
    conflicts: list[ConflictOut] = Field(description="Cells that were not set.")
    error: ResultError | None = Field(None, alias="problem")


class BatchOut(Schema):
    model_config = example(
        rev=42, results=[{"status": "created", "id": 7, "version": 1, "conflicts": []}]
    )

    rev: int | None = Field(description="The table's revision by this; null: nothing changed.")
    results: list[ResultOut] = Field(
        alias="outcomes", description="Of each operation, in their order."
    )
