"""What requests and responses about runs of AI fields look like."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

from ninja import Schema
from pydantic import Field, JsonValue, model_validator

from aily.rest.openapi import example
from aily.rest.requests import Moment, RequestSchema
from chat.api.run_schemas import EstimateOut, RunItem, StartName
from chat.reasons import Reason
from chat.services.refused_values import refused
from chat.tables.ai.runs import MAX_CHAINED, NewAiRun
from chat.tables.ai.selection import MAX_NAMED_ROWS, Scope
from chat.tables.api.ai_field_schemas import CLIENT, MAX_RUN_ROWS, Money
from chat.tables.api.row_schemas import RowId
from chat.tables.models import AiRun, Which

_SHARE_EQUAL = "Rows that ask the same are answered by one call of yours."

WhichName = Literal["empty", "stale", "empty_or_stale", "failed", "rejected", "all"]


class ScopeIn(RequestSchema):
    """Rows: those of a view or filter, or some by their ids; of these the first ones. Cells of
    these rows: `which`. Of the rows that are left, some by chance."""

    model_config = example(which="empty_or_stale", first=1000)

    view: int | None = Field(None, ge=1, lt=2**63)
    filter: JsonValue = None
    rows: list[RowId] | None = Field(None, max_length=MAX_NAMED_ROWS)
    first: int | None = Field(None, ge=1, le=MAX_RUN_ROWS)
    random: int | None = Field(None, ge=1, le=MAX_RUN_ROWS)
    which: WhichName = Field("empty", description="Cells that are filled.")
    overwrite_edited: bool = Field(
        False, description="True: also cells that people have edited by hand before now."
    )

    def scope(self) -> Scope:
        return Scope(
            self.view,
            self.filter,
            self.rows,
            self.first,
            self.random,
            Which(self.which),
            self.overwrite_edited,
        )


class RunIn(RequestSchema):
    model_config = example(scope={"which": "empty"}, start="now", max_cost="2.50")

    scope: ScopeIn = ScopeIn.model_validate({})
    start: Literal["", "now", "off_peak", "at"] = Field(
        "", description="Empty: the run is ready, and waits for `:start`."
    )
    start_at: Moment | None = Field(None, description="With `start` at.")
    max_cost: Money | None = Field(
        None, description="No further row is fed once this is spent, in the model's currency."
    )
    deadline_at: Moment | None = None
    max_open: int | None = Field(None, ge=1, le=20_000)
    webhook: int | None = Field(None, ge=1, lt=2**63)
    share_equal: bool = Field(False, description=_SHARE_EQUAL)
    try_rows: int = Field(
        0, ge=0, le=100, alias="try", description="Run so many rows now, and wait for `:start`."
    )
    also: list[int] = Field(
        default_factory=list,
        max_length=MAX_CHAINED,
        description="AI fields that are filled in the same turn, row by row.",
    )

    @model_validator(mode="after")
    def tries_or_starts(self) -> RunIn:
        if self.try_rows and self.start:
            raise refused(Reason("try_or_start"))
        if self.try_rows and self.also:
            raise refused(Reason("try_one"))
        return self

    def new(self) -> NewAiRun:
        return NewAiRun(
            self.scope.scope(),
            self.start,
            self.start_at,
            self.max_cost,
            self.deadline_at,
            self.max_open,
            self.webhook,
            self.share_equal,
            self.try_rows,
            self.also,
        )


class EstimateIn(RequestSchema):
    model_config = example(scope={"which": "empty"}, share_equal=True)

    scope: ScopeIn = ScopeIn.model_validate({})
    share_equal: bool = Field(False, description=_SHARE_EQUAL)


class ScopeEstimateOut(EstimateOut):
    model_config = example(in_scope=5200, skipped=200, duplicates=12)

    in_scope: int = Field(description="Rows of the scope, whatever their cells hold.")
    skipped: int = Field(description="Rows that do not meet the field's condition.")
    duplicates: int = Field(description="Rows that ask what another one asks as well.")


class TableRunOut(RunItem):
    model_config = example(
        params=None, name="Summary", table=3, ai_field=4, started_by="demo", scope={"view": 7},
        which="empty", overwrite_edited=False, waits_for=[], is_automatic=False, reverted_at=None,
        mapping={"text": "f12"}, options={"max_tokens": 200},
    )  # fmt: skip

    table: int = Field(alias="ai_run.table_id")
    ai_field: int = Field(alias="ai_run.ai_field_id")
    started_by: str = Field(
        alias="owner.username", description="Who pays, and may start it, resume it and retry."
    )
    scope: dict[str, JsonValue] = Field(alias="ai_run.scope")
    which: str = Field(alias="ai_run.which")
    overwrite_edited: bool = Field(alias="ai_run.overwrites_edited")
    waits_for: list[UUID] = Field(
        alias="ai_run.waits_for", description="Runs of fields that this one reads."
    )
    is_automatic: bool = Field(alias="ai_run.is_automatic")
    reverted_at: datetime | None = Field(alias="ai_run.reverted_at")
    mapping: dict[str, JsonValue]
    options: dict[str, JsonValue]


class RunsOut(Schema):
    """The run of the AI field, and those of the fields that are filled in the same turn."""

    model_config = example(id="0198c0de-9c33-7000-8000-0123456789ab", runs=[])

    id: UUID = Field(description="Of the run of the AI field that was named.")
    runs: list[TableRunOut] = Field(description="In the order in which rows go through them.")


class AiRunStartIn(RequestSchema):
    model_config = example(start="now")

    start: StartName = "now"
    start_at: Moment | None = None


class LimitsIn(RequestSchema):
    model_config = example(max_cost="5.00")

    max_cost: Money | None = None
    deadline_at: Moment | None = None
    max_open: int | None = Field(None, ge=1, le=20_000)


class AiRunTryIn(RequestSchema):
    model_config = example(rows=10)

    rows: int = Field(10, ge=1, le=100)


class TriedOut(Schema):
    model_config = example(rows=[17, 40, 41])

    rows: list[int] = Field(description="Ids of the rows that are run now.")


class RevertIn(RequestSchema):
    model_config = example(client="")

    client: str = Field("", max_length=64, description=CLIENT)


class RevertedOut(Schema):
    model_config = example(rows=200)

    rows: int = Field(description="Cells that hold again what they held before.")


class RunRowsQuery(Schema):
    after: int = Field(0, ge=0, lt=2**31, description="The number after which to go on.")
    limit: int = Field(100, ge=1, le=500)
    state: str | None = Field(None, max_length=9)
    code: str | None = Field(None, max_length=60)


class RunRowOut(Schema):
    model_config = example(
        number=1, row=17, state="succeeded", error=None,
        task_id="0198c0de-9c33-7000-8000-0123456789ab", tries=0, inputs={"f12": "A text"},
        prompt_tokens=80, completion_tokens=20, cost="0.000040", ended_at="2026-01-31T12:00:05Z",
    )  # fmt: skip

    number: int
    row: int
    state: str
    error: dict[str, JsonValue] | None
    task_id: UUID | None
    tries: int
    inputs: dict[str, JsonValue] | None
    prompt_tokens: int
    completion_tokens: int
    cost: Decimal
    ended_at: datetime | None


class RunRowsOut(Schema):
    model_config = example(items=[], next=None)

    items: list[RunRowOut]
    next: int | None


def run_of(ai_run: AiRun) -> Any:
    """The run, with what it has as a run of an AI field."""
    ai_run.run.ai_run = ai_run
    return ai_run.run
