"""Fields that take the properties of answers, by the JSON Schema of a scene's answers."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import JsonValue

from chat.runs.reading.coercion import types_of
from chat.tables.fields import NewField
from chat.tables.models import Kind
from chat.tables.models.tables import MAX_NAME_CHARS
from chat.tables.options import MAX_CHOICES

#: By the first type of a property that is not null.
_KINDS = {
    "integer": Kind.INTEGER,
    "number": Kind.NUMBER,
    "boolean": Kind.BOOLEAN,
    "array": Kind.JSON,
    "object": Kind.JSON,
}
_FORMATS = {
    "date": Kind.DATE,
    "date-time": Kind.DATETIME,
    "email": Kind.EMAIL,
    "uri": Kind.URL,
}


def fields_for_schema(schema: Mapping[str, JsonValue]) -> dict[str, NewField]:
    """A field for each property, by the property's name; none where the answers are no objects."""
    properties = schema.get("properties")
    if not isinstance(properties, dict):
        return {}
    return {name: _field(name, part) for name, part in properties.items()}


def _field(name: str, part: JsonValue) -> NewField:
    shown = name.strip()[:MAX_NAME_CHARS] or "answer"
    choices = _choices(part)
    if choices:
        return NewField(shown, Kind.SELECT, {"choices": [{"name": choice} for choice in choices]})
    if (
        isinstance(part, dict)
        and part.get("type") == "array"
        and (listed := _choices(part.get("items")))
    ):
        return NewField(
            shown, Kind.MULTI_SELECT, {"choices": [{"name": choice} for choice in listed]}
        )
    named = part.get("format") if isinstance(part, dict) else None
    if isinstance(named, str) and named in _FORMATS:
        return NewField(shown, _FORMATS[named])
    types = types_of(part) - {"null"}
    kind = _KINDS.get(next(iter(sorted(types)), ""), Kind.LONG_TEXT)
    return NewField(shown, kind if len(types) == 1 else Kind.LONG_TEXT)


def _choices(part: JsonValue) -> list[str]:
    """The texts that a property may be, if it is one of some."""
    listed = part.get("enum") if isinstance(part, dict) else None
    if not isinstance(listed, list) or not 0 < len(listed) <= MAX_CHOICES:
        return []
    texts = [value for value in listed if value is not None]
    if not all(isinstance(text, str) and text.strip() == text and text for text in texts):
        return []
    return [str(text) for text in texts]
