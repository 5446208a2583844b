"""Why a value does not fit a JSON Schema, by the keyword that it breaks."""

from __future__ import annotations

import json

from jsonschema import ValidationError

from chat.reasons import MAX_PARAM_CHARS, Reason

#: By keyword: the reason, and the parameter that has the keyword's value.
_REASONS = {
    "type": ("wrong_type", "type"),
    "enum": ("no_choice", "choices"),
    "const": ("not_constant", "choices"),
    "minimum": ("below", "limit"),
    "maximum": ("above", "limit"),
    "exclusiveMinimum": ("not_above", "limit"),
    "exclusiveMaximum": ("not_below", "limit"),
    "multipleOf": ("not_multiple", "limit"),
    "minLength": ("too_short", "count"),
    "maxLength": ("too_long", "count"),
    "pattern": ("no_match", "pattern"),
    "minItems": ("too_few", "count"),
    "maxItems": ("too_many", "count"),
    "uniqueItems": ("not_unique", "unique"),
}


def mismatch_of(error: ValidationError) -> Reason:
    if (name := missing_or_unknown(error)) is not None:
        return Reason.of("missing" if error.validator == "required" else "unknown", name=repr(name))
    if error.validator not in _REASONS:
        return Reason.of("schema_mismatch", detail=error.message)
    name, parameter = _REASONS[error.validator]
    params = {"value": _shown(error.instance), parameter: _shown(error.validator_value)}
    return Reason.of(name, **params)


def missing_or_unknown(error: ValidationError) -> str | None:
    """Of an object: the name that is missing, or too much. None for other mismatches."""
    instance, value, schema = error.instance, error.validator_value, error.schema
    if not isinstance(instance, dict) or not isinstance(schema, dict):
        return None
    if error.validator == "required" and isinstance(value, list):
        # The message names one of several: each is an error of its own.
        return next((name for name in value if error.message.startswith(repr(name))), None)
    if error.validator == "additionalProperties" and value is False:
        listed = schema.get("properties")
        properties = listed if isinstance(listed, dict) else {}
        return next((name for name in instance if name not in properties), None)
    return None


def _shown(value: object) -> str:
    """The value as its sender wrote it, cut where it is long."""
    if isinstance(value, str) and len(value) > MAX_PARAM_CHARS:
        value = value[:MAX_PARAM_CHARS]
    return json.dumps(value, ensure_ascii=False, default=str)
