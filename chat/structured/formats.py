"""What a `response_format` of the type `json_schema` asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

JSON_SCHEMA = "json_schema"


@dataclass(frozen=True, slots=True)
class OutputFormat:
    """The JSON Schema that an answer must fit. `source`: the whole `response_format`."""

    source: Mapping[str, Any]

    @property
    def schema(self) -> dict[str, Any]:
        """The schema; an empty one, which all JSON fits, where none is named."""
        schema: dict[str, Any] = self.source[JSON_SCHEMA].get("schema") or {}
        return schema

    @property
    def is_of_an_object(self) -> bool:
        """False if no object fits: JSON mode makes nothing else."""
        kind = self.schema.get("type", "object")
        return kind == "object" or (isinstance(kind, list) and "object" in kind)


def asks_for_schema(response_format: object) -> bool:
    return isinstance(response_format, dict) and response_format.get("type") == JSON_SCHEMA


def of_scene(slug: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """The `response_format` of a scene's `output_schema`. Its name is the slug's."""
    name = slug[:64] or "output"
    return {"type": JSON_SCHEMA, JSON_SCHEMA: {"name": name, "schema": schema}}
