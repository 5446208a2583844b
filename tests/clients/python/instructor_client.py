"""instructor: pydantic models out of tool calls, JSON mode and JSON schemas."""

from __future__ import annotations

import instructor
from common import MODEL, City
from openai import OpenAI


def _city(mode: instructor.Mode, prompt: str) -> None:
    client = instructor.from_openai(OpenAI(max_retries=0), mode=mode)
    messages = [{"role": "user", "content": prompt}]
    city = client.chat.completions.create(
        model=MODEL, response_model=City, messages=messages, max_retries=1
    )
    assert isinstance(city, City)


def tools() -> None:
    _city(instructor.Mode.TOOLS, "Name a city [sim:tool]")


def json_schema() -> None:
    _city(instructor.Mode.JSON_SCHEMA, "Name a city")
