"""What requests and responses about AI fields look like."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal

from ninja import Schema
from pydantic import Field, JsonValue

from aily.rest.openapi import example
from aily.rest.requests import RequestSchema
from chat.tables.ai.config import WHOLE
from chat.tables.ai.fields import NewOutput
from chat.tables.api.schemas import KindName
from chat.tables.fields import MAX_FIELDS, NewField
from chat.tables.models import AiField

Money = Annotated[Decimal, Field(ge=0, max_digits=18, decimal_places=6)]
PolicyName = Literal["by_hand", "empty", "fresh"]
MAX_RUN_ROWS = 1_000_000
CLIENT = "Your own name for this tab or program."

_MAPPING = (
    'Of each variable of the scene: the key of a field, such as `f12`, or `{"value": a constant}`. '
    "A field may be the output of another AI field: then that one is filled first. "
    '`{"examples": 5}`: so many answers of this field that people have accepted.'
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
    client: str = Field("", max_length=64, description=CLIENT)


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
    client: str = Field("", max_length=64, description=CLIENT)


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
        max_cost_per_day=None, note="", note_code="", note_params={},
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
    note_code: str = Field(description="Its code, as of an error; empty: there is none.")
    note_params: dict[str, JsonValue] = Field(
        description="What a text in another language needs; `rule` names a sentence."
    )
    outputs: list[OutputOut]
    created_at: datetime

    @staticmethod
    def resolve_note_code(row: AiField) -> str:
        return str((row.policy_reason or {}).get("code", ""))

    @staticmethod
    def resolve_note_params(row: AiField) -> dict[str, JsonValue]:
        params: dict[str, JsonValue] = (row.policy_reason or {}).get("params", {})
        return params

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
