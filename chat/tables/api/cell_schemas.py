"""What requests and responses about single cells of AI fields, and their states, look like."""

from __future__ import annotations

from typing import Literal

from ninja import Schema
from pydantic import Field, JsonValue

from aily.rest.openapi import example
from aily.rest.requests import RequestSchema
from chat.tables.ai.reviews import MAX_NOTE_CHARS


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
