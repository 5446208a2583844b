"""Tasks with a JSON Schema, from the submit to the stored answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from accounts.models import User
from aily.database.threads import in_database
from chat.llm.simulator.server import Simulator
from chat.models import LLMModel, Status
from tests.chat.conftest import Submit, frames_of, row

PERSON: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "age": {"type": "integer", "minimum": 0},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 1},
        "home": {"anyOf": [{"$ref": "#/$defs/Place"}, {"type": "null"}]},
    },
    "required": ["name", "age", "tags", "home"],
    "additionalProperties": False,
    "$defs": {
        "Place": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        }
    },
}


def format_of(schema: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "person", "schema": schema, **fields}}


async def test_it(submit_as_alice: Submit, alice: User, worker: object, simulator: Simulator) -> None:
    for kind in ("fits", "second", "never", "fenced", "chatty", "prose"):
        task_id = await submit_as_alice(f"hi [sim:schema={kind}]", response_format=format_of(PERSON))
        frames = await frames_of(task_id, alice)
        task = await row(task_id)
        print(kind, task.status, task.attempt, task.text, task.finish_reason, task.error, task.usage)
        print([ (f["type"], f.get("id"), f.get("text"), f.get("result")) for f in frames.frames] if hasattr(frames,'frames') else vars(frames))
