"""Tools for tables: their rows are read and written, and an AI field is run once its caller
knows what that costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import ROUND_UP, Decimal
from typing import Any, cast
from uuid import UUID

from django.core import signing
from django.db import IntegrityError
from pydantic import Field, JsonValue

from accounts.models import User
from aily.database.replica import note_write
from aily.problems import InvalidRequest
from aily.rest.decimals import decimal_text
from aily.rest.requests import RequestSchema
from chat.models.ids import tagged_id
from chat.runs.actors import ring_feeder
from chat.tables.ai.fields import get_ai_field, live_ai_fields, no_ai_field
from chat.tables.ai.runs import NewAiRun, create_runs, estimate_scope
from chat.tables.api.ai_field_schemas import Money
from chat.tables.api.ai_run_schemas import ScopeIn
from chat.tables.api.queries import page_of_rows
from chat.tables.api.row_schemas import BatchIn, BatchOut
from chat.tables.api.view_schemas import QueryIn
from chat.tables.changes import Author
from chat.tables.fields import live_fields
from chat.tables.models import AiField, AiRun, Table
from chat.tables.models import Field as TableField
from chat.tables.permissions import (
    Access,
    accesses,
    get_table,
    require_access,
    visible_tables,
)
from chat.tables.rows.batch import Batch, apply_batch

QUERY, WRITE, START = "tables_query", "tables_write", "runs_start"
MAX_TABLES = 100
#: Rows of a page, where a call names no other number: a model reads all of them.
USUAL_ROWS = 50
#: For so long a run may be started by an estimate.
ESTIMATE_SECONDS = 3_600
#: What changes of such callers are noted as.
_CLIENT = "mcp"
_SALT = "chat.mcp_server.estimate"
_CENT = Decimal("0.000001")

Json = dict[str, Any]


def _tool(name: str, title: str, description: str, schema: Json, *, reads: bool = False) -> Json:
    return {
        "name": name,
        "title": title,
        "description": description,
        "inputSchema": {"type": "object", "additionalProperties": False, **schema},
        "annotations": {
            "readOnlyHint": reads,
            "destructiveHint": not reads,
            "openWorldHint": False,
        },
    }


_TABLE = {"type": "integer", "description": "Id of the table."}
_OPERATION: Json = {
    "type": "object",
    "properties": {
        "op": {"enum": ["create", "update", "delete", "upsert"]},
        "id": {"type": "integer", "description": "Of the row that is updated or deleted."},
        "values": {"type": "object", "description": "By keys of fields, such as f12."},
        "was": {"type": "object", "description": "Cells as you read them: others are not set."},
    },
    "required": ["op"],
}
TABLE_TOOLS: tuple[Json, ...] = (
    _tool(
        QUERY,
        "Read tables",
        "Without `table` the tables that you may read. With it the fields of that table and its "
        "rows, by filter and order, a page at a time.",
        {
            "properties": {
                "table": _TABLE,
                "filter": {
                    "type": "object",
                    "description": 'Such as {"and": [{"field": "f12", "op": "contains", "value": '
                    '"late"}]}; op: is, is_not, contains, gt, gte, lt, lte, between, in, empty, '
                    "not_empty.",
                },
                "sorts": {"type": "array", "description": 'Such as [{"field": "f12"}].'},
                "fields": {"type": "array", "items": {"type": "string"}},
                "limit": {"type": "integer", "minimum": 1, "maximum": 500},
                "cursor": {"type": "string", "description": "`next` of the page before."},
                "count": {"enum": ["exact", "capped", "none"]},
            }
        },
        reads=True,
    ),
    _tool(
        WRITE,
        "Change rows of a table",
        "Creates, updates, deletes and upserts up to 1,000 rows: all of it happens or nothing, "
        "unless `atomic` is false.",
        {
            "properties": {
                "table": _TABLE,
                "operations": {"type": "array", "items": _OPERATION, "maxItems": 1000},
                "atomic": {"type": "boolean"},
                "key": {"type": "string", "description": "The field that names the row to upsert."},
            },
            "required": ["table", "operations"],
        },
    ),
    _tool(
        START,
        "Run an AI field",
        "Fills cells of an AI field by asking its scene about each row, which costs money. First "
        "call it without `estimate`: it says what the run would cost, and starts nothing. Call it "
        "again with the `estimate` that it gave to start that run; once more, and it is not made "
        "twice.",
        {
            "properties": {
                "ai_field": {"type": "integer", "description": "Id of the AI field."},
                "scope": {
                    "type": "object",
                    "description": 'Such as {"which": "empty", "first": 100}; which: empty, stale, '
                    "empty_or_stale, failed, rejected, all.",
                },
                "share_equal": {"type": "boolean"},
                "max_cost": {"type": "number", "description": "Else what it costs at most."},
                "estimate": {"type": "string"},
            },
            "required": ["ai_field"],
        },
    ),
)
NAMES = frozenset(tool["name"] for tool in TABLE_TOOLS)


class _Query(QueryIn):
    table: int | None = Field(None, ge=1, lt=2**63)
    limit: int = Field(USUAL_ROWS, ge=1, le=500)


class _Write(BatchIn):
    table: int = Field(ge=1, lt=2**63)


class _Start(RequestSchema):
    ai_field: int = Field(ge=1, lt=2**63)
    scope: ScopeIn = ScopeIn.model_validate({})
    share_equal: bool = False
    max_cost: Money | None = None
    estimate: str | None = Field(None, max_length=10_000)


@dataclass(frozen=True, slots=True)
class TableCaller:
    """Who calls, and by which key."""

    user: User
    api_key_id: int


def has_tables(user: User) -> bool:
    """Whether there is a table that these tools are of use for."""
    return visible_tables(user).filter(deleted_at=None).exists()


def call_table_tool(
    owner_id: int, api_key_id: int, name: str, arguments: Mapping[str, JsonValue]
) -> Json:
    """Carry out a tool of NAMES. Blocks. Raises Problem and pydantic's ValidationError."""
    caller = TableCaller(User.objects.get(pk=owner_id), api_key_id)
    return _TOOLS[name](caller, arguments)


# --- Reading and writing ------------------------------------------------------------------------
def _query(caller: TableCaller, arguments: Mapping[str, JsonValue]) -> Json:
    given = _Query.model_validate(dict(arguments))
    if given.table is None:
        return {"tables": _tables(caller.user)}
    head, rows = page_of_rows(caller.user, given.table, given)
    fields, ai_fields = live_fields(given.table), live_ai_fields(given.table)
    return {
        "table": given.table,
        "fields": [_described(field) for field in fields],
        "ai_fields": [
            {
                "id": ai_field.pk,
                "name": ai_field.name,
                "outputs": [field.key for field in fields if field.ai_field_id == ai_field.pk],
            }
            for ai_field in ai_fields
        ],
        "rows": rows,
        **head,
    }


def _tables(user: User) -> list[Json]:
    tables = visible_tables(user).filter(deleted_at=None).order_by("-pk")[:MAX_TABLES]
    return [
        {
            "table": table.pk,
            "name": table.name,
            "rows": table.row_count,
            "access": accesses(user, table),
        }
        for table in tables
    ]


def _described(field: TableField) -> Json:
    described: Json = {"key": field.key, "name": field.name, "kind": field.kind}
    if choices := field.options.get("choices"):
        described["choices"] = [choice["name"] for choice in cast("list[Json]", choices)]
    return described


def _write(caller: TableCaller, arguments: Mapping[str, JsonValue]) -> Json:
    given = _Write.model_validate(dict(arguments))
    table: Table = get_table(caller.user, given.table, Access.EDIT)
    operations = [operation.operation() for operation in given.operations]
    batch = Batch(operations, given.atomic, given.key)
    result = apply_batch(table, Author(caller.user.pk, _CLIENT), batch)
    note_write(caller.user.pk)
    return BatchOut.from_orm(result).model_dump(mode="json")


# --- Runs ---------------------------------------------------------------------------------------
def _start(caller: TableCaller, arguments: Mapping[str, JsonValue]) -> Json:
    given = _Start.model_validate(dict(arguments))
    row = get_ai_field(given.ai_field)
    require_access(caller.user, row.table, Access.RUN, no_ai_field())
    if given.estimate is None:
        return _estimate(caller, row, given)
    run_id, at_most = _read_estimate(caller, given)
    max_cost = given.max_cost if given.max_cost is not None else at_most or None
    new = NewAiRun(
        given.scope.scope(),
        "now",
        max_cost=max_cost,
        shares_equal_rows=given.share_equal,
        run_id=run_id,
    )
    made = _made(run_id) or _make(caller, row, new, run_id)
    return {"run": str(made.pk), "state": made.run.state, "rows": made.run.pending}


def _made(run_id: UUID) -> AiRun | None:
    """The run of an estimate that a start was made with before. The estimate names its caller."""
    return AiRun.objects.select_related("run").filter(pk=run_id).first()


def _make(caller: TableCaller, row: AiField, new: NewAiRun, run_id: UUID) -> AiRun:
    try:
        [made] = create_runs(caller.user, caller.api_key_id, row, new)
    except IntegrityError:
        # A start of the same estimate at the same moment has made it.
        if (other := _made(run_id)) is None:
            raise
        return other
    ring_feeder()
    note_write(caller.user.pk)
    return made


def _estimate(caller: TableCaller, row: AiField, given: _Start) -> Json:
    """What the run would cost, and what it is started by. Nothing is stored."""
    new = NewAiRun(given.scope.scope(), shares_equal_rows=given.share_equal)
    found = estimate_scope(caller.user, caller.api_key_id, row, new).estimate
    at_most = found.at_most.cost.quantize(_CENT, ROUND_UP)
    return {
        "estimate": signing.dumps(
            [*_asked(caller, given), str(tagged_id()), str(at_most)], salt=_SALT
        ),
        "rows": found.rows,
        "model": found.model,
        "currency": found.currency,
        "likely_cost": decimal_text(found.likely.cost),
        "at_most_cost": decimal_text(at_most),
        "off_peak_cost": decimal_text(found.off_peak.cost),
        "seconds": found.seconds,
        "based_on": found.based_on,
    }


def _asked(caller: TableCaller, given: _Start) -> list[Any]:
    scope = given.scope.model_dump(mode="json")
    return [caller.user.pk, given.ai_field, scope, given.share_equal]


def _read_estimate(caller: TableCaller, given: _Start) -> tuple[UUID, Decimal]:
    """The id that this run has, however often it is started, and the most that it was said to
    cost. Raises InvalidRequest if the estimate is of another."""
    try:
        read = signing.loads(given.estimate or "", salt=_SALT, max_age=ESTIMATE_SECONDS)
    except signing.BadSignature:
        message = "This is no estimate, or an old one: call it without `estimate` first."
        raise InvalidRequest(message, field="estimate") from None
    *asked, run_id, at_most = read
    if asked != _asked(caller, given):
        raise InvalidRequest("This is the estimate of another run.", field="estimate")
    return UUID(run_id), Decimal(at_most)


_TOOLS: dict[str, Callable[[TableCaller, Mapping[str, JsonValue]], Json]] = {
    QUERY: _query,
    WRITE: _write,
    START: _start,
}
