"""Which rule of a JSON Schema a value breaks, for texts in other languages."""

from __future__ import annotations

from jsonschema import ValidationError

#: Keywords that have a text of their own, with their value in it.
_WITH_LIMIT = frozenset(
    {"minLength", "maxLength", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}
    | {"minItems", "maxItems", "multipleOf", "type", "enum", "const", "format"}
)
_WITHOUT = frozenset({"required", "additionalProperties", "pattern", "uniqueItems"})
MAX_LIMIT_CHARS = 200


def rule_of(error: ValidationError) -> dict[str, str | float]:
    """The keyword as `rule`, and its value as `limit`; empty for keywords without a text."""
    keyword, value = str(error.validator), error.validator_value
    if keyword in _WITHOUT:
        return {"rule": keyword}
    if keyword not in _WITH_LIMIT:
        return {}
    return {"rule": keyword, "limit": _limit(value)}


def _limit(value: object) -> str | float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    values = value if isinstance(value, list) else [value]
    return ", ".join(map(str, values))[:MAX_LIMIT_CHARS]
