"""What a schema refuses as a Problem, in the words of JSON Schema's rules."""

from __future__ import annotations

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from aily.problems import InvalidRequest
from chat.rendering.rules import MAX_LIMIT_CHARS
from chat.services.parameters import path_of

#: JSON Schema's keyword of pydantic's kinds of errors, and what their contexts call its value.
_RULES: dict[str, tuple[str, str]] = {
    "missing": ("required", ""),
    "extra_forbidden": ("additionalProperties", ""),
    "string_too_short": ("minLength", "min_length"),
    "string_too_long": ("maxLength", "max_length"),
    "too_short": ("minItems", "min_length"),
    "too_long": ("maxItems", "max_length"),
    "greater_than_equal": ("minimum", "ge"),
    "less_than_equal": ("maximum", "le"),
    "greater_than": ("exclusiveMinimum", "gt"),
    "less_than": ("exclusiveMaximum", "lt"),
    "literal_error": ("enum", "expected"),
    "string_pattern_mismatch": ("pattern", ""),
}
#: Ends of the kinds that say which type was expected, as in `string_type` and `int_parsing`.
_TYPE_ENDS = ("_type", "_parsing")
_TYPES = {"int": "integer", "float": "number", "bool": "boolean", "dict": "object", "list": "array"}


def invalid_request_of(error: ValidationError, within: str = "") -> InvalidRequest:
    """The first error, with the path of its field; `within`: the field that was checked."""
    first = error.errors(include_url=False, include_input=False)[0]
    path = path_of(first["loc"])
    field = ".".join(part for part in (within, path) if part) or None
    message = first["msg"].removeprefix("Value error, ")
    return InvalidRequest(message, field=field, params=_rule_of(first))


def _rule_of(detail: ErrorDetails) -> dict[str, str | float]:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind in _RULES:
        keyword, name = _RULES[kind]
        if not name:
            return {"rule": keyword}
        value = context.get(name)
        limit = value if isinstance(value, int | float) else str(value)[:MAX_LIMIT_CHARS]
        return {"rule": keyword, "limit": limit}
    for end in _TYPE_ENDS:
        if kind.endswith(end):
            name = kind.removesuffix(end)
            return {"rule": "type", "limit": _TYPES.get(name, name)}
    return {}
