"""Forms that tools have their users fill in: flat JSON Schemas, within bounds. Pure.

A server may make several requests at once. Their forms become one, whose fields then have the
request's key before their names.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from chat.llm.types import storable
from chat.tools.results import AskedInput, ToolErrorCode, ToolFault

#: Of a form: its fields, the choices of each, and the characters of its message and its texts.
MAX_FIELDS, MAX_CHOICES = 20, 100
MAX_MESSAGE_CHARS, MAX_TEXT_CHARS = 4_000, 1_000
#: Bytes of the whole schema, and of what the server wants back with the answer.
MAX_SCHEMA_BYTES, MAX_STATE_BYTES = 32_768, 65_536

_TYPES = ("string", "number", "integer", "boolean")
_TEXTS = ("title", "description")
#: Bounds of a field's value that are kept, by its type.
_BOUNDS: dict[str, tuple[str, ...]] = {
    "string": ("minLength", "maxLength"),
    "number": ("minimum", "maximum"),
    "integer": ("minimum", "maximum"),
    "boolean": (),
}
_FORMATS = ("email", "uri", "date", "date-time")


@dataclass(frozen=True, slots=True)
class AskedForm:
    """One request of a server: what it asks, and the schema of the answer."""

    message: str
    schema: Mapping[str, Any]


def form_of(forms: Mapping[str, AskedForm], state: str | None) -> AskedInput:
    """The one form of a server's requests. Raises ToolFault for what is beyond the bounds, and for
    fields that are not flat."""
    if not forms:
        raise _unusable("it names no question")
    if state is not None and (len(state.encode()) > MAX_STATE_BYTES or storable(state) != state):
        raise _unusable(f"its state is no text of at most {MAX_STATE_BYTES} bytes")
    message = storable("\n\n".join(form.message for form in forms.values()))
    if len(message) > MAX_MESSAGE_CHARS:
        raise _unusable(f"its question has more than {MAX_MESSAGE_CHARS} characters")
    properties: dict[str, Any] = {}
    required: list[str] = []
    fields: dict[str, tuple[str, str]] = {}
    for key, form in forms.items():
        for name, field in _properties(form.schema).items():
            if _text(key) != key or _text(name) != name:
                raise _unusable("its form has a field whose name cannot be kept")
            shown = _text(name if len(forms) == 1 else f"{key}.{name}")
            properties[shown], fields[shown] = _field(field), (key, name)
            if name in _required(form.schema):
                required.append(shown)
    schema = {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }
    if len(properties) > MAX_FIELDS or len(msgspec.json.encode(schema)) > MAX_SCHEMA_BYTES:
        raise _unusable(f"its form has more than {MAX_FIELDS} fields, or {MAX_SCHEMA_BYTES} bytes")
    return AskedInput(message, schema, [*forms], fields, state)


def _properties(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    properties = schema.get("properties") or {}
    if not isinstance(properties, dict):
        raise _unusable("its form has no fields")
    return properties


def _required(schema: Mapping[str, Any]) -> list[Any]:
    required = schema.get("required") or []
    return required if isinstance(required, list) else []


def _field(given: Any) -> dict[str, Any]:
    """A field with what is known of fields alone. Raises ToolFault unless it is flat."""
    kind = given.get("type") if isinstance(given, dict) else None
    if kind not in _TYPES:
        raise _unusable("its form has fields other than texts, numbers, yes or no, and choices")
    field: dict[str, Any] = {"type": kind}
    field |= {name: _text(given[name]) for name in _TEXTS if isinstance(given.get(name), str)}
    is_bound = _is_length if kind == "string" else _is_number
    field |= {name: given[name] for name in _BOUNDS[kind] if is_bound(given.get(name))}
    if kind == "string":
        field |= _choices(given)
        if given.get("format") in _FORMATS:
            field["format"] = given["format"]
    if _is_default(kind, default := given.get("default")):
        field["default"] = _text(default) if isinstance(default, str) else default
    return field


def _choices(given: Mapping[str, Any]) -> dict[str, Any]:
    """`enum`, and `enumNames` where the choices have titles, in any of the protocol's forms."""
    values: Any
    names: Any
    titled = given.get("oneOf")
    if isinstance(titled, list):
        values = [choice.get("const") for choice in titled if isinstance(choice, dict)]
        names = [choice.get("title") for choice in titled if isinstance(choice, dict)]
    else:
        values, names = given.get("enum"), given.get("enumNames")
    if values is None:
        return {}
    if not isinstance(values, list) or not 0 < len(values) <= MAX_CHOICES:
        raise _unusable(f"a field of its form has no choices, or more than {MAX_CHOICES}")
    if not all(isinstance(value, str) for value in values):
        raise _unusable("a choice of its form is no text")
    choices: dict[str, Any] = {"enum": [_text(value) for value in values]}
    if isinstance(names, list) and len(names) == len(values):
        choices["enumNames"] = [
            _text(name) if isinstance(name, str) else value
            for name, value in zip(names, values, strict=True)
        ]
    return choices


def _text(text: str) -> str:
    if len(text) > MAX_TEXT_CHARS:
        raise _unusable(f"a text of its form has more than {MAX_TEXT_CHARS} characters")
    return storable(text)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_length(value: Any) -> bool:
    return _is_number(value) and isinstance(value, int) and value >= 0


def _is_default(kind: str, value: Any) -> bool:
    if kind == "string":
        return isinstance(value, str)
    return isinstance(value, bool) if kind == "boolean" else _is_number(value)


def _unusable(problem: str) -> ToolFault:
    return ToolFault(
        ToolErrorCode.INPUT_REQUIRED,
        f"The tool asks its user for input, but {problem}: aily cannot ask for it.",
    )
