"""What requests and responses about views, queries and snapshots look like."""

# Annotations stay objects here: ninja looks them up.

from datetime import datetime
from typing import Annotated, Literal

from ninja import Schema
from pydantic import Field, JsonValue

from aily.rest.openapi import example
from aily.rest.requests import RequestSchema
from chat.tables.models.tables import MAX_NAME_CHARS
from chat.tables.positions import MAX_MOVED
from chat.tables.queries.pages import COUNT_CAP
from chat.tables.values import MAX_ROW_ID
from chat.tables.view_queries import MAX_LISTED_FIELDS

#: Rows of a page.
MAX_ROWS = 500

FilterTree = dict[str, JsonValue]
Keys = Annotated[list[Annotated[str, Field(max_length=40)]], Field(max_length=MAX_LISTED_FIELDS)]

_FILTER = (
    'A condition, or a group of conditions: `{"and": [{"field": "f12", "op": "contains", "value": '
    '"late"}, {"or": [...]}]}`, up to 3 levels and 50 conditions.'
)
_SORTS = '`[{"field": "f12", "desc": true}]`. Empty cells come last, equal rows by their ids.'
_GROUPS = 'Fields by which rows are grouped: `["f12"]`, or `[{"field": "f13", "bucket": "month"}]`.'
_AGGREGATES = (
    "What is computed of each group, by field: sum, avg, min, max, distinct, filled, empty, true."
)
_COLLATION = "How texts are sorted: empty by code point, or `pinyin`."
_CLIENT = "Your own name for this tab or program: undo takes back what it did."


class QueryParts(RequestSchema):
    """What decides about rows and their order."""

    filter: FilterTree | None = Field(None, description=_FILTER)
    sorts: list[JsonValue] = Field(default_factory=list, max_length=8, description=_SORTS)
    collation: str = Field("", max_length=40, description=_COLLATION)


# --- Views --------------------------------------------------------------------------------------
class ViewPatch(RequestSchema):
    model_config = example(name="Open tickets", sorts=[], filter=None)

    name: str = Field("", min_length=1, max_length=MAX_NAME_CHARS)
    filter: FilterTree | None = Field(None, description=_FILTER)
    sorts: list[JsonValue] = Field(default_factory=list, description=_SORTS)
    groups: list[JsonValue] = Field(default_factory=list, description=_GROUPS)
    aggregates: dict[str, JsonValue] = Field(default_factory=dict, description=_AGGREGATES)
    collation: str = Field("", max_length=40, description=_COLLATION)
    hidden: Keys = Field(default_factory=list, description="Fields that are not shown.")
    order: Keys = Field(default_factory=list, description="Fields in their order here.")
    frozen: int = Field(0, ge=0, le=20, description="So many fields stay when one scrolls.")
    widths: dict[str, int] = Field(default_factory=dict, description="Pixels by field.")
    is_shared: bool = Field(False, description="Everybody sees it who may read the table.")
    position: int = Field(0, ge=0, le=10_000)


class ViewIn(ViewPatch):
    model_config = example(name="Open tickets", sorts=[], filter=None)

    name: str = Field(min_length=1, max_length=MAX_NAME_CHARS)


class ViewOut(Schema):
    model_config = example(
        id=5,
        table=3,
        name="Open tickets",
        owner="alice",
        is_shared=True,
        is_own=True,
        filter={"and": [{"field": "f12", "op": "is", "value": 1}]},
        sorts=[{"field": "f13", "desc": True}],
        groups=[],
        aggregates={},
        collation="",
        hidden=[],
        order=[],
        frozen=1,
        widths={"f12": 180},
        position=0,
        created_at="2026-01-31T12:00:00Z",
        updated_at="2026-01-31T12:00:00Z",
    )

    id: int
    table: int = Field(alias="table_id")
    name: str
    owner: str = Field(alias="owner.username")
    is_shared: bool
    is_own: bool = Field(description="You may change it.")
    filter: FilterTree | None
    sorts: list[JsonValue]
    groups: list[JsonValue]
    aggregates: dict[str, JsonValue]
    collation: str
    hidden: list[str]
    order: list[str]
    frozen: int
    widths: dict[str, int]
    position: int
    created_at: datetime
    updated_at: datetime


# --- Snapshots ----------------------------------------------------------------------------------
class OpenIn(RequestSchema):
    """Parts that are given take the place of those that are stored."""

    model_config = example(filter=None, sorts=[], n=50)

    filter: FilterTree | None = Field(None, description=_FILTER)
    sorts: list[JsonValue] = Field(default_factory=list, description=_SORTS)
    groups: list[JsonValue] = Field(default_factory=list, description=_GROUPS)
    aggregates: dict[str, JsonValue] = Field(default_factory=dict, description=_AGGREGATES)
    collation: str = Field("", max_length=40, description=_COLLATION)
    n: int = Field(0, ge=0, le=MAX_ROWS, description="So many of the first rows are in `items`.")


class GroupOut(Schema):
    model_config = example(values=[1], count=12, aggregates={"f14": 345.5})

    values: list[JsonValue] = Field(description="Of the fields that rows are grouped by.")
    count: int
    aggregates: dict[str, JsonValue]


class ShownRow(Schema):
    """A row. `ai` has the states of its AI fields."""

    model_config = example(id=1, version=3, values={}, ai=None, is_outside=False)

    id: int
    version: int
    values: dict[str, JsonValue]
    ai: dict[str, JsonValue] | None = None
    is_outside: bool = Field(False, description="It has left the view since it was opened.")


class SnapshotOut(Schema):
    model_config = example(
        id="kq3JtV0Zr1b8mXw2Yc5dEfGh", table=3, rev=41, count=200, groups=[], items=[]
    )

    id: str
    table: int
    rev: int = Field(description="The table's revision; `after` of `table.subscribe`.")
    schema_rev: int
    count: int
    groups: list[GroupOut] = Field(description="In the order of the rows; at most 1,000.")
    has_more_groups: bool
    ignored: list[str] = Field(description="Fields that the view names and that were deleted.")
    items: list[ShownRow | None]


class PlaceQuery(Schema):
    from_: int = Field(0, ge=0, le=10_000_000, alias="from", description="The place, from 0.")
    n: int = Field(100, ge=1, le=MAX_ROWS)


class SnapshotRows(Schema):
    model_config = example(rev=41, count=200, items=[{"id": 1, "version": 3, "values": {}}])

    rev: int = Field(description="The table's revision; the rows are as new, or newer.")
    count: int
    items: list[ShownRow | None] = Field(description="null: a row that was deleted since.")


class SnapshotChangesOut(Schema):
    model_config = example(rev=44, entered=7, left=5)

    rev: int
    entered: int = Field(description="Rows that the view has now, and the snapshot has not.")
    left: int = Field(description="Rows of the snapshot that the view no longer has.")


# --- Queries ------------------------------------------------------------------------------------
class QueryIn(QueryParts):
    model_config = example(sorts=[], limit=100, count="capped")

    fields: Keys | None = Field(None, description="What `values` has; default: all.")
    limit: int = Field(100, ge=1, le=MAX_ROWS)
    cursor: str | None = Field(None, max_length=1_000_000, description="`next` of a page.")
    count: Literal["exact", "capped", "none"] = Field(
        "none", description=f"capped: up to {COUNT_CAP:,}, which costs less."
    )


class QueryOut(Schema):
    model_config = example(
        rev=41,
        items=[{"id": 1, "version": 3, "values": {}}],
        next=None,
        count=1,
        is_capped=False,
    )

    rev: int
    items: list[ShownRow]
    next: str | None = Field(description="`cursor` of the next page; null: there is none.")
    count: int | None
    is_capped: bool = Field(description="There are so many rows, or more.")


class AggregateIn(QueryParts):
    model_config = example(groups=[], aggregates={})

    groups: list[JsonValue] = Field(default_factory=list, description=_GROUPS)
    aggregates: dict[str, JsonValue] = Field(default_factory=dict, description=_AGGREGATES)


class AggregateOut(Schema):
    model_config = example(
        groups=[{"values": [1], "count": 12, "aggregates": {"f14": 345.5}}], has_more=False
    )

    groups: list[GroupOut]
    has_more: bool = Field(description="There are more than 1,000 groups.")


# --- Order by hand, undo ------------------------------------------------------------------------
class MoveIn(RequestSchema):
    model_config = example(rows=[1])

    rows: list[Annotated[int, Field(ge=1, le=MAX_ROW_ID)]] = Field(
        min_length=1, max_length=MAX_MOVED
    )
    before: int | None = Field(None, ge=1, le=MAX_ROW_ID, description="Directly before this row.")
    after: int | None = Field(
        None, ge=1, le=MAX_ROW_ID, description="Directly after it; neither: at the end."
    )
    client: str = Field("", max_length=64, description=_CLIENT)


class MoveOut(Schema):
    model_config = example(rev=42)

    rev: int


class RedoIn(RequestSchema):
    model_config = example(client="tab-1")

    client: str = Field("", max_length=64, description=_CLIENT)


class UndoIn(RedoIn):
    model_config = example(client="tab-1", change=None)

    change: int | None = Field(
        None, ge=1, lt=2**63, description="This change of the table, by any author."
    )
    batch: str | None = Field(None, max_length=36, description="All of this import.")


class UndoneOut(Schema):
    model_config = example(change=12, of_rev=42, rev=43, conflicts=[])

    change: int | None = Field(description="What was undone or redone; null: nothing was left.")
    of_rev: int | None = Field(
        description="The table's revision by that. A paste of many rows is several changes: the "
        "revisions of its requests say which."
    )
    rev: int | None
    conflicts: list[dict[str, JsonValue]] = Field(
        description="Cells that somebody else has changed since, which stay as they are."
    )
