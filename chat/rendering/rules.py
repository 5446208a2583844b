"""Which rule of a JSON Schema a value breaks, for texts in other languages."""

from __future__ import annotations

import json
from collections import defaultdict

from jsonschema import ValidationError

#: Keywords that have a text of their own, with their value in it.
_WITH_LIMIT = frozenset(
    {"minLength", "maxLength", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}
    | {"minItems", "maxItems", "minProperties", "maxProperties", "multipleOf"}
    | {"type", "enum", "const", "format"}
)
_WITHOUT = frozenset(
    {"required", "additionalProperties", "pattern", "uniqueItems", "contains", "items", "not"}
    | {"anyOf", "oneOf"}
)
#: Keywords that say the same as another.
_SAME = {
    "dependentRequired": "required",
    "unevaluatedProperties": "additionalProperties",
    "unevaluatedItems": "items",
    "minContains": "contains",
    "maxContains": "contains",
}
_ALTERNATIVES = ("anyOf", "oneOf")
MAX_LIMIT_CHARS = 200


def rule_of(error: ValidationError) -> dict[str, str | float]:
    """The keyword as `rule`, and its value as `limit`; empty for keywords without a text."""
    keyword = _SAME.get(str(error.validator), str(error.validator))
    if error.schema is False:
        return {"rule": "not"}
    if keyword in _WITHOUT:
        return {"rule": keyword}
    if keyword not in _WITH_LIMIT:
        return {}
    return {"rule": keyword, "limit": _limit(error.validator_value)}


def _limit(value: object) -> str | float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    values = value if isinstance(value, list) else [value]
    texts = [item for item in values if isinstance(item, str)]
    if len(texts) < len(values):
        texts = [json.dumps(item, ensure_ascii=False) for item in values]
    return ", ".join(texts)[:MAX_LIMIT_CHARS]


def missing_names(error: ValidationError) -> list[str]:
    """The properties whose absence the error is about."""
    instance, value = error.instance, error.validator_value
    if not isinstance(instance, dict):
        return []
    wanted: list[str] = []
    if error.validator == "required" and isinstance(value, list):
        wanted = value
    elif error.validator == "dependentRequired" and isinstance(value, dict):
        wanted = [name for given, names in value.items() if given in instance for name in names]
    return [name for name in wanted if name not in instance]


# --- Alternatives -------------------------------------------------------------------------------
def most_relevant(error: ValidationError) -> ValidationError:
    """What is wrong by the one alternative of `anyOf` or `oneOf` that is meant, such as the one
    beside null; the error itself where that is not clear."""
    while error.validator in _ALTERNATIVES and error.context:
        by_alternative: dict[object, list[ValidationError]] = defaultdict(list)
        for part in error.context:
            by_alternative[part.schema_path[0]].append(part)
        alternatives = list(by_alternative.values())
        of_its_type = [parts for parts in alternatives if not any(map(_is_of_another_type, parts))]
        meant = [parts for parts in of_its_type if not any(map(_is_of_another_name, parts))]
        if len(of_its_type) == 1:
            meant = of_its_type
        if len(meant) != 1:
            return error if of_its_type else _joined(error, alternatives)
        error = meant[0][0]
    return error


def _is_of_another_type(error: ValidationError) -> bool:
    """Whether the value as a whole was meant for another alternative."""
    return not error.path and error.validator in ("type", "const", "enum")


def _is_of_another_name(error: ValidationError) -> bool:
    """Whether the property that tells alternatives apart has the value of another."""
    return len(error.path) == 1 and error.validator in ("const", "enum")


def _joined(error: ValidationError, alternatives: list[list[ValidationError]]) -> ValidationError:
    """One error for alternatives that differ in their type, or are values, and nothing else."""
    parts = [parts[0] for parts in alternatives]
    whole = [part for part in parts if not part.path]
    if len(whole) < len(parts):
        return error
    keywords = {"enum" if part.validator == "const" else str(part.validator) for part in parts}
    if len(keywords) > 1:
        return error
    [keyword] = keywords
    values = [value for part in parts for value in _values_of(part)]
    verb = "of type" if keyword == "type" else "one of"
    return ValidationError(
        f"{error.instance!r} is not {verb} {', '.join(map(repr, values))}",
        validator=keyword,
        validator_value=values,
        instance=error.instance,
        schema=error.schema,
        path=error.path,
        parent=error.parent,
    )


def _values_of(error: ValidationError) -> list[object]:
    value = error.validator_value
    return value if isinstance(value, list) and error.validator != "const" else [value]
