"""What requests and responses about comparisons of two configurations look like."""

from __future__ import annotations

from datetime import datetime

from ninja import Schema
from pydantic import Field, JsonValue

from aily.rest.openapi import example
from aily.rest.requests import RequestSchema
from chat.tables.api.ai_run_schemas import ScopeIn

MAX_COMPARED_ROWS = 200


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
    blind: bool = Field(False, description="The sides stay hidden until `:reveal`.")
    truth: dict[str, str] = Field(
        default_factory=dict,
        max_length=20,
        description="Of outputs: the field that has the right answers. Each side then says how "
        "many it has given, and which in place of which.",
    )


class ComparisonItem(Schema):
    model_config = example(
        id=1, is_blind=False, rows=20, is_done=True, created_at="2026-01-31T12:00:00Z"
    )

    id: int
    is_blind: bool
    rows: int
    is_done: bool
    created_at: datetime


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
