"""The rules that pydantic's errors are about, for texts in other languages than English.

Their names are the keywords of JSON Schema, whose value is `limit`, and those of chat/reasons/.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic_core import PydanticCustomError

Params = dict[str, str | float]

#: The type of an error that a validator raises with a rule.
REFUSED = "aily_refused"
#: What pydantic calls the bound of each kind of error, beside the keyword that has this bound.
_BOUNDS: Mapping[str, tuple[str, str]] = {
    "string_too_long": ("maxLength", "max_length"),
    "string_too_short": ("minLength", "min_length"),
    "too_long": ("maxItems", "max_length"),
    "too_short": ("minItems", "min_length"),
    "greater_than": ("exclusiveMinimum", "gt"),
    "greater_than_equal": ("minimum", "ge"),
    "less_than": ("exclusiveMaximum", "lt"),
    "less_than_equal": ("maximum", "le"),
    "multiple_of": ("multipleOf", "multiple_of"),
    "decimal_max_places": ("too_many_decimals", "decimal_places"),
    "decimal_max_digits": ("more_digits", "max_digits"),
    "decimal_whole_digits": ("more_digits", "whole_digits"),
}
#: Kinds of errors whose rule has no parameters.
_PLAIN: Mapping[str, str] = {
    "missing": "required",
    "extra_forbidden": "additionalProperties",
    "string_pattern_mismatch": "pattern",
    "json_invalid": "not_json",
    "json_type": "not_json",
    "timezone_aware": "not_time",
    "date_from_datetime_inexact": "not_date",
    "int_parsing_size": "integer_too_large",
    "recursion_loop": "too_deep",
}
#: Types by the beginning of the error's kind, such as `int_parsing`; a value is of none other.
_TYPES: Mapping[str, str] = {
    "string": "string",
    "int": "integer",
    "float": "number",
    "decimal": "number",
    "number": "number",
    "finite": "number",
    "bool": "boolean",
    "list": "array",
    "tuple": "array",
    "set": "array",
    "dict": "object",
    "model": "object",
    "mapping": "object",
    "none": "null",
}
_FORMATS: Mapping[str, str] = {
    "datetime": "not_time",
    "time": "not_time",
    "date": "not_date",
    "url": "not_url",
}

#: Kinds of errors of Django's validators, and what they call their bound.
_MODEL_BOUNDS: Mapping[str, tuple[str, str]] = {
    "max_length": ("maxLength", "limit_value"),
    "min_length": ("minLength", "limit_value"),
    "max_value": ("maximum", "limit_value"),
    "min_value": ("minimum", "limit_value"),
    "max_decimal_places": ("too_many_decimals", "max"),
    "max_digits": ("more_digits", "max"),
    "password_too_short": ("minLength", "min_length"),
}
_MODEL_PLAIN: Mapping[str, str] = {
    "required": "required",
    "blank": "required",
    "null": "required",
    "null_characters_not_allowed": "null_character",
    "unique": "name_taken",
    "password_too_common": "common_password",
    "password_entirely_numeric": "numeric_password",
    "password_too_similar": "similar_password",
}


def refused_value(sentence: str, params: Mapping[str, str | float]) -> PydanticCustomError:
    """What a validator of a schema raises: `params` name the rule, and what its text needs."""
    return PydanticCustomError(REFUSED, "{sentence}", {**params, "sentence": sentence})


def rule_of(error: Mapping[str, Any]) -> Params:
    """The rule that a value breaks, with its parameters; empty for what has no text.

    `error` is one of pydantic's `errors()`, with its context.
    """
    kind, context = str(error["type"]), error.get("ctx") or {}
    if kind == REFUSED:
        return {name: value for name, value in context.items() if name != "sentence"}
    if kind in _PLAIN:
        return {"rule": _PLAIN[kind]}
    if kind in _BOUNDS:
        return _of_bound(kind, context)
    if kind in ("literal_error", "enum", "union_tag_invalid"):
        expected = str(context.get("expected") or context.get("expected_tags", ""))
        return {"rule": "enum", "limit": _listed(expected)}
    if kind == "union_tag_not_found":
        return {"rule": "required"}
    return _of_type(kind)


def _of_bound(kind: str, context: Mapping[str, Any]) -> Params:
    rule, name = _BOUNDS[kind]
    if kind in ("too_long", "too_short") and context.get("field_type") == "Dictionary":
        rule = rule.replace("Items", "Properties")
    return _bounded(rule, context[name])


def _listed(expected: str) -> str:
    """pydantic writes `'a', 'b' or 'c'`. An empty text, which means none, is left out."""
    return ", ".join(filter(None, re.findall(r"'([^']*)'", expected))) or expected


def _of_type(kind: str) -> Params:
    beginning = kind.split("_")[0]
    if beginning in _FORMATS:
        return {"rule": _FORMATS[beginning]}
    if kind.startswith("uuid"):
        return {"rule": "format", "limit": "uuid"}
    return {"rule": "type", "limit": _TYPES[beginning]} if beginning in _TYPES else {}


def rule_of_model(code: str, context: Mapping[str, Any]) -> Params:
    """The same of an error of Django's validators."""
    if code in _MODEL_PLAIN:
        return {"rule": _MODEL_PLAIN[code]}
    if code in _MODEL_BOUNDS and _MODEL_BOUNDS[code][1] in context:
        return _bounded(_MODEL_BOUNDS[code][0], context[_MODEL_BOUNDS[code][1]])
    return {}


def _bounded(rule: str, bound: object) -> Params:
    return {"rule": rule, "limit": bound if isinstance(bound, int | float) else str(bound)}
