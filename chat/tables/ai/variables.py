"""The variables of a scene, made of a row's values as its schema has them."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from pydantic import JsonValue

from chat.models import Run
from chat.runs.reading.coercion import coerced, types_of
from chat.services.drafts import find_version
from chat.services.submission import CompositeRequest

Object = dict[str, JsonValue]
#: What a variable is that the schema says nothing of.
_TEXT = {"string"}


def request_of(run: Run, payload: Mapping[str, JsonValue]) -> CompositeRequest:
    """The request for a row with these values by the keys of their fields."""
    fields = {**run.options, "scene": run.scene, "variables": variables_of(run, payload)}
    if run.scene_version is not None:
        fields["version"] = run.scene_version
    return CompositeRequest.model_validate(fields)


def variables_of(run: Run, payload: Mapping[str, JsonValue]) -> Object:
    """An empty cell is an empty text where a text is wanted, null where that is allowed, and is
    left out otherwise."""
    if run.variables_schema is None:
        version = find_version(run.scene, run.scene_version)
        run.variables_schema = version.variables_schema if version else {}
    properties = run.variables_schema.get("properties")
    schemas = properties if isinstance(properties, dict) else {}
    variables: Object = {}
    for name, source in run.mapping.items():
        if isinstance(source, dict):
            variables[name] = source["value"]
            continue
        types = types_of(schemas[name]) if name in schemas else _TEXT
        value = payload.get(str(source))
        if value is not None:
            variables[name] = _fitted(value, types)
        elif "string" in types:
            variables[name] = ""
        elif "null" in types or not types:
            variables[name] = None
    return variables


def _fitted(value: JsonValue, types: set[str]) -> JsonValue:
    if isinstance(value, str):
        return coerced(value, types) if types and "string" not in types else value
    if types == _TEXT or types == {"string", "null"}:
        return text_of(value)
    return value


def text_of(value: JsonValue) -> str:
    """A value of a cell as a prompt shows it."""
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ", ".join(map(str, value))
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
