"""REST schemas of imports and exports."""

# Annotations stay objects here: ninja looks them up.

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from ninja import Schema
from pydantic import Field, JsonValue

from aily.rest.openapi import example, partial_example
from aily.rest.requests import RequestSchema
from chat.tables.fields import MAX_FIELDS
from chat.tables.models import Export, Import
from chat.tables.models.transfers import TransferState

StateName = Literal["inspecting", "ready", "running", "done", "failed", "cancelled"]
EncodingName = Literal[
    "utf-8", "utf-16-le", "utf-16-be", "gb18030", "big5", "shift_jis", "cp1252"
]  # fmt: skip
ModeName = Literal["append", "upsert", "skip"]
_MAPPING = (
    'Of each column of the file: `{"field": "f12"}`, `{"new": {"name": "Price", "kind": '
    '"number"}}` to create a field, or null. What no column goes to is never touched. Cells of a '
    'link name rows of its table: by the field that stands for them, or `"by": "f7"`, or `"id"`.'
)
_MODE = (
    "append: each row is added. upsert: a row whose key is in the table changes that row. skip: "
    "such a row is left out."
)
_MAX_BAD = "Given up if more than this percentage of the rows do not fit. 0: all or nothing."
_CLIENT = "Your own name for this tab or program: undo takes back what it did."


class UploadQuery(Schema):
    file_name: str = Field("", max_length=500, description="Its extension decides the format.")
    format: Literal["", "csv", "jsonl", "xlsx"] = Field(
        "", description="Default: by the name, or the first bytes."
    )


class NewTableQuery(UploadQuery):
    name: str = Field("", max_length=200, description="Of the table. Default: the file's.")


class DialectIn(RequestSchema):
    """How the file is read, where it is not as was recognised."""

    model_config = partial_example(encoding="gb18030", delimiter=";", decimal_comma=True)

    encoding: EncodingName = "utf-8"
    delimiter: Literal[",", ";", "\t", "|"] = ","
    quote: Literal['"', "'", ""] = Field('"', description="Empty: no cell is quoted.")
    has_header: bool = True
    decimal_comma: bool = Field(False, description="1.234,5 is a number.")
    date_order: Literal["ymd", "dmy", "mdy"] = Field(
        "ymd", description="Of dates that end with the year."
    )
    sheet: str = Field("", max_length=200, description="Of a workbook: the sheet's name.")


class ImportPatch(RequestSchema):
    """For imports that are ready or failed. Another dialect has the file inspected again."""

    model_config = example(dialect={"encoding": "gb18030"}, mode="append", max_bad_percent=5)

    dialect: DialectIn = Field(DialectIn.model_construct(), validate_default=False)
    mapping: list[dict[str, JsonValue] | None] = Field(
        default_factory=list, max_length=1000, description=_MAPPING
    )
    mode: ModeName = Field("append", description=_MODE)
    key_field: str | None = Field(
        None, max_length=20, description="The field by which upsert and skip find rows."
    )
    max_bad_percent: int = Field(10, ge=0, le=100, description=_MAX_BAD)
    new_table: str = Field("", min_length=1, max_length=200)


class ImportStartIn(RequestSchema):
    model_config = example(client="tab-1")

    client: str = Field("", max_length=64, description=_CLIENT)


class ColumnOut(Schema):
    model_config = example(header="Preis", name="Preis", kind="number")

    header: str = Field(description="As it is in the file.")
    name: str = Field(description="For a field that is created of it.")
    kind: str = Field(description="Guessed from rows spread over the file.")


_ITEM: dict[str, JsonValue] = {
    "id": "0198c0de-9c33-7000-8000-0123456789ab",
    "table": 3,
    "new_table": "",
    "file_name": "prices.csv",
    "format": "csv",
    "state": "running",
    "reason": "",
    "message": "",
    "params": None,
    "total": 100_000,
    "done": 42_000,
    "created_rows": 0,
    "updated_rows": 0,
    "skipped_rows": 0,
    "bad_rows": 0,
    "created_at": "2026-01-31T12:00:00Z",
    "started_at": "2026-01-31T12:00:10Z",
    "ended_at": None,
}


class ImportItem(Schema):
    model_config = example(**_ITEM)

    id: UUID
    table: int | None = Field(None, alias="table_id")
    new_table: str = Field(description="The name of the table that it creates.")
    file_name: str
    format: str
    state: StateName
    reason: str = Field(description="A code, if it failed.")
    message: str
    params: dict[str, JsonValue] | None = Field(
        None, alias="reason_params", description="What a text in another language needs."
    )
    total: int | None = Field(None, description="Rows of the file.")
    done: int = Field(description="Rows that were read.")
    created_rows: int
    updated_rows: int
    skipped_rows: int
    bad_rows: int
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None


class ImportOut(ImportItem):
    model_config = example(
        **_ITEM,
        dialect={"encoding": "utf-8", "delimiter": ","},
        sheets=[],
        columns=[{"header": "SKU", "name": "SKU", "kind": "text"}],
        preview=[["A-1"]],
        mapping=[{"field": "f12"}],
        mode="append",
        key_field=None,
        max_bad_percent=10,
        duplicate_of=None,
        has_report=False,
        can_undo=False,
    )

    dialect: dict[str, JsonValue] = Field(description="How the file is read.")
    sheets: list[str] = Field(description="Of a workbook.")
    columns: list[ColumnOut]
    preview: list[list[str | None]] = Field(description="The first rows, their cells cut short.")
    mapping: list[dict[str, JsonValue] | None] = Field(description=_MAPPING)
    mode: ModeName = Field(description=_MODE)
    key_field: str | None = None
    max_bad_percent: int = Field(description=_MAX_BAD)
    duplicate_of: UUID | None = Field(
        None, description="An import of the same file into this table, within a day."
    )
    has_report: bool = Field(description="There is a report of what did not fit.")
    can_undo: bool

    @staticmethod
    def resolve_dialect(job: Import) -> Any:
        return job.options.get("dialect", {})

    @staticmethod
    def resolve_sheets(job: Import) -> Any:
        return job.options.get("sheets", [])

    @staticmethod
    def resolve_key_field(job: Import) -> str | None:
        return f"f{job.key_field_id}" if job.key_field_id else None

    @staticmethod
    def resolve_has_report(job: Import) -> bool:
        return job.report_file_id is not None

    @staticmethod
    def resolve_can_undo(job: Import) -> bool:
        return job.state == TransferState.DONE and job.undone_at is None and not job.new_table


class ExportIn(RequestSchema):
    """A view with its order and fields; or the whole table, filtered and sorted."""

    model_config = example(format="csv", bom=True, provenance=True)

    format: Literal["csv", "xlsx", "jsonl"]
    view: int | None = Field(None, ge=1, lt=2**63)
    filter: JsonValue = Field(None, description="A tree of conditions, as of a view.")
    sorts: list[JsonValue] = Field(default_factory=list, max_length=8)
    fields: list[str] = Field(
        default_factory=list,
        max_length=MAX_FIELDS,
        description="Their keys, in order. Default: those that the view shows, or all.",
    )
    spreadsheet: bool = Field(
        True, description="CSV: what a spreadsheet would take for a formula gets an apostrophe."
    )
    bom: bool = Field(False, description="CSV: Excel then reads it as UTF-8.")
    provenance: bool = Field(
        False, description="Beside answers: state, model, tokens, cost, time and task."
    )


class ExportOut(Schema):
    model_config = example(
        id="0198c0de-9c33-7000-8000-0123456789ab",
        table=3,
        view=7,
        format="xlsx",
        state="done",
        reason="",
        message="",
        params=None,
        total=91_000,
        done=91_000,
        file_name="Tickets.xlsx",
        bytes=4_200_000,
        created_at="2026-01-31T12:00:00Z",
        ended_at="2026-01-31T12:00:13Z",
        expires_at="2026-02-01T12:00:13Z",
    )

    id: UUID
    table: int = Field(alias="table_id")
    view: int | None = Field(None, alias="view_id")
    format: str
    state: StateName
    reason: str
    message: str
    params: dict[str, JsonValue] | None = Field(
        None, alias="reason_params", description="What a text in another language needs."
    )
    total: int | None = Field(None, description="Rows to be written, once they are counted.")
    done: int = Field(description="Rows that were written.")
    file_name: str | None = None
    bytes: int | None = None
    created_at: datetime
    ended_at: datetime | None = None
    expires_at: datetime | None = Field(None, description="Until then the file can be fetched.")

    @staticmethod
    def resolve_file_name(job: Export) -> str | None:
        return job.file.name if job.file is not None else None

    @staticmethod
    def resolve_bytes(job: Export) -> int | None:
        return job.file.bytes if job.file is not None else None

    @staticmethod
    def resolve_expires_at(job: Export) -> datetime | None:
        return job.file.expires_at if job.file is not None else None
