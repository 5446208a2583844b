"""What requests and responses about AI fields, their runs and their cells look like."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

from ninja import Schema
from pydantic import Field, JsonValue, model_validator

from aily.rest.openapi import example
from aily.rest.requests import Moment, RequestSchema
from chat.api.run_schemas import EstimateOut, RunItem, StartName
from chat.tables.ai.config import WHOLE
from chat.tables.ai.fields import NewOutput
from chat.tables.ai.reviews import MAX_NOTE_CHARS
from chat.tables.ai.runs import MAX_CHAINED, NewAiRun
from chat.tables.ai.selection import MAX_NAMED_ROWS, Scope
from chat.tables.api.row_schemas import RowId
from chat.tables.api.schemas import KindName
from chat.tables.fields import MAX_FIELDS, NewField
from chat.tables.models import AiField, AiRun, Which

Money = Annotated[Decimal, Field(ge=0, max_digits=18, decimal_places=6)]
PolicyName = Literal["by_hand", "empty", "fresh"]
WhichName = Literal["empty", "stale", "empty_or_stale", "failed", "rejected", "all"]
MAX_RUN_ROWS = 1_000_000
MAX_COMPARED_ROWS = 200

_MAPPING = (
    'Of each variable of the scene: the key of a field, such as `f12`, or `{"value": a constant}`. '
    "A field may be the output of another AI field: then that one is filled first."
)
_CONDITION = "A filter: rows that do not meet it are skipped."
_POLICY = (
    "by_hand: only by runs. empty: empty cells are filled by themselves. fresh: also those whose "
    "inputs or settings have changed."
)
_OUTPUTS = (
    "Fields to add that take the answers. Left out: one for each property of the scene's output "
    "schema, or one long text."
)
_CLIENT = "Your own name for this tab or program."


class OutputIn(RequestSchema):
    model_config = example(name="Sentiment", kind="select", property="sentiment",
                           options={"choices": [{"name": "good"}, {"name": "bad"}]})  # fmt: skip

    name: str
    kind: KindName = "long_text"
    options: dict[str, JsonValue] = Field(default_factory=dict)
    property: str = Field(
        WHOLE, max_length=200, description="Of the answer's JSON object. Empty: the whole answer."
    )

    def output(self) -> NewOutput:
        return NewOutput(NewField(self.name, self.kind, self.options), self.property)


class AiFieldIn(RequestSchema):
    model_config = example(
        name="Summary", scene="summarize", mapping={"text": {"value": "A long text ..."}},
        outputs=[{"name": "Summary", "kind": "long_text"}],
    )  # fmt: skip

    name: str
    scene: str = Field(max_length=50)
    version: int | None = Field(
        None, ge=1, lt=2**31, description="Null: the one that is live at the start of a run."
    )
    mapping: dict[str, JsonValue] = Field(max_length=200, description=_MAPPING)
    model: str = Field("", max_length=100, description="Empty: the scene's.")
    options: dict[str, JsonValue] = Field(
        default_factory=dict, description="Fields of every request, such as `max_tokens`."
    )
    condition: JsonValue = Field(None, description=_CONDITION)
    policy: PolicyName = Field("by_hand", description=_POLICY)
    max_rows_per_hour: int | None = Field(None, ge=1, le=MAX_RUN_ROWS)
    max_cost_per_day: Money | None = None
    outputs: list[OutputIn] = Field(
        default_factory=list, max_length=MAX_FIELDS, description=_OUTPUTS
    )
    client: str = Field("", max_length=64, description=_CLIENT)


class AiFieldPatch(RequestSchema):
    model_config = example(name="Short summary", policy="empty", max_rows_per_hour=1000)

    name: str = ""
    scene: str = Field("", max_length=50)
    version: int | None = Field(None, ge=1, lt=2**31)
    mapping: dict[str, JsonValue] = Field(
        default_factory=dict, max_length=200, description=_MAPPING
    )
    model: str = Field("", max_length=100)
    options: dict[str, JsonValue] = Field(default_factory=dict)
    condition: JsonValue = Field(None, description=_CONDITION)
    policy: PolicyName = Field("by_hand", description=_POLICY)
    max_rows_per_hour: int | None = Field(None, ge=1, le=MAX_RUN_ROWS)
    max_cost_per_day: Money | None = None
    outputs: list[OutputIn] = Field(
        default_factory=list, max_length=MAX_FIELDS, description="Outputs to add."
    )
    client: str = Field("", max_length=64, description=_CLIENT)


class OutputOut(Schema):
    model_config = example(id=14, key="f14", name="Summary", kind="long_text", property="")

    id: int
    key: str = Field(description="Its name in the `values` of rows.")
    name: str
    kind: str
    property: str


class AiFieldOut(Schema):
    model_config = example(
        id=4, table=3, name="Summary", scene="summary", version=None, mapping={"text": "f12"},
        model="", options={}, condition=None, policy="by_hand", max_rows_per_hour=None,
        max_cost_per_day=None, note="",
        outputs=[{"id": 14, "key": "f14", "name": "Summary", "kind": "long_text", "property": ""}],
        created_at="2026-01-31T12:00:00Z",
    )  # fmt: skip

    id: int
    table: int = Field(alias="table_id")
    name: str
    scene: str
    version: int | None = Field(alias="scene_version")
    mapping: dict[str, JsonValue]
    model: str
    options: dict[str, JsonValue]
    condition: JsonValue
    policy: str
    max_rows_per_hour: int | None
    max_cost_per_day: Decimal | None
    note: str = Field(alias="policy_note", description="Why its policy fills no further cells.")
    outputs: list[OutputOut]
    created_at: datetime

    @staticmethod
    def resolve_outputs(row: AiField) -> list[dict[str, object]]:
        fields = row.outputs.filter(deleted_at=None).order_by("position", "id")
        return [
            {
                "id": field.pk,
                "key": field.key,
                "name": field.name,
                "kind": field.kind,
                "property": row.outputs_map.get(field.column, WHOLE),
            }
            for field in fields
        ]


# --- Runs ---------------------------------------------------------------------------------------
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
    share_equal: bool = Field(
        False, description="Rows that ask the same are answered by one call of yours."
    )
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
            raise ValueError("try some rows first, or start: not both")
        if self.try_rows and self.also:
            raise ValueError("try one AI field at a time")
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
    model_config = example(scope={"which": "empty"})

    scope: ScopeIn = ScopeIn.model_validate({})


class ScopeEstimateOut(EstimateOut):
    model_config = example(in_scope=5200, skipped=200, duplicates=12)

    in_scope: int = Field(description="Rows of the scope, whatever their cells hold.")
    skipped: int = Field(description="Rows that do not meet the field's condition.")
    duplicates: int = Field(description="Rows that ask what another one asks as well.")


class TableRunOut(RunItem):
    model_config = example(
        name="Summary", table=3, ai_field=4, scope={"view": 7}, which="empty",
        overwrite_edited=False, waits_for=[], is_automatic=False, reverted_at=None,
        mapping={"text": "f12"}, options={"max_tokens": 200},
    )  # fmt: skip

    table: int = Field(alias="ai_run.table_id")
    ai_field: int = Field(alias="ai_run.ai_field_id")
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

    client: str = Field("", max_length=64, description=_CLIENT)


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


# --- Cells --------------------------------------------------------------------------------------
class CellOut(Schema):
    """An answer, and where it comes from."""

    model_config = example(
        ai_field=4, row=17, state="stale", why=["input"], values={"f14": "Late parcel."},
        error=None,
        provenance={"task": "0198c0de-9c33-7000-8000-0123456789ab", "scene": "summary",
                    "version": 3, "model": "deepseek-flash", "prompt_tokens": 80,
                    "completion_tokens": 20, "cost": "0.00004", "currency": "USD"},
        inputs={"f12": "My parcel is late."}, edited=None, review=None, history=[],
    )  # fmt: skip

    ai_field: int
    row: int
    state: str = Field(
        description="none, queued, running, done, failed, stale, edited or rejected."
    )
    why: list[str] = Field(description="Of a stale one: input, config, or both.")
    values: dict[str, JsonValue]
    error: dict[str, JsonValue] | None
    provenance: dict[str, JsonValue] | None = Field(
        description="Task, run, scene and version, model that answered, tokens, cost, time."
    )
    inputs: dict[str, JsonValue] | None = Field(description="The values that were asked about.")
    edited: dict[str, JsonValue] | None
    review: dict[str, JsonValue] | None
    history: list[dict[str, JsonValue]] = Field(
        description="What it held before, the newest first, and answers that came too late."
    )


class ReviewIn(RequestSchema):
    model_config = example(thumb="down", verdict="rejected", note="Too long.")

    thumb: Literal["up", "down"] | None = None
    verdict: Literal["accepted", "rejected"] | None = None
    note: str = Field("", max_length=MAX_NOTE_CHARS)


class StatesOut(Schema):
    model_config = example(counts={"none": 20, "done": 170, "stale": 8, "failed": 2})

    counts: dict[str, int] = Field(description="Cells by their states.")


def run_of(ai_run: AiRun) -> Any:
    """The run, with what it has as a run of an AI field."""
    ai_run.run.ai_run = ai_run
    return ai_run.run


# --- Comparisons --------------------------------------------------------------------------------
class SideIn(RequestSchema):
    """What is otherwise than in the AI field; what is left out is as there."""

    model_config = example(options={"max_tokens": 200})

    version: int | None = Field(None, ge=1, lt=2**31)
    model: str = Field("", max_length=100)
    options: dict[str, JsonValue] = Field(default_factory=dict)

    def changes(self) -> dict[str, object]:
        given: dict[str, object] = self.dict(exclude_unset=True)
        if "version" in given:
            given["scene_version"] = given.pop("version")
        return given


class ComparisonIn(RequestSchema):
    model_config = example(a={}, b={"options": {"max_tokens": 200}}, rows=20, blind=True)

    a: SideIn
    b: SideIn
    scope: ScopeIn = Field(
        ScopeIn.model_validate({}),
        description="Rows to choose from, whatever their cells hold.",
    )
    rows: int = Field(20, ge=1, le=MAX_COMPARED_ROWS)
    blind: bool = Field(False, description="Which is which is told by `:reveal`.")


class ComparisonOut(Schema):
    model_config = example(
        id=1, ai_field=4, is_blind=False,
        sides={"a": {"state": "done", "rows": 20, "cost": "0.0004"},
               "b": {"state": "done", "rows": 20, "cost": "0.0012"}},
        rows=[{"row": 17, "inputs": {"f12": "A text"}, "a": {"values": {"f14": "An answer"}},
               "b": {"values": {"f14": "Another answer"}}}],
    )  # fmt: skip

    id: int
    ai_field: int
    is_blind: bool
    sides: dict[str, dict[str, JsonValue]]
    rows: list[dict[str, JsonValue]]
