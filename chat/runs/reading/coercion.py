"""Texts of a CSV file as the values that a scene's schema asks for: a file has no types of its
own."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping

import msgspec
from pydantic import JsonValue

_INTEGER = re.compile(r"[+-]?\d{1,300}", re.ASCII)
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
#: Ways by which a schema lists alternatives.
_ALTERNATIVES = ("anyOf", "oneOf", "allOf")
#: Schemas within schemas that are looked into.
_MAX_DEPTH = 8


class _NoSuchValueError(Exception):
    """The text is no value of this type."""


def coerce(
    variables: Mapping[str, JsonValue], schemas: Mapping[str, JsonValue], optional: set[str]
) -> dict[str, JsonValue]:
    """The variables, of which `schemas` has the subschemas.

    A text that is no value of the type stays as it is, and is refused where it is checked. An empty
    text is left out where the variable may be, unless it may be a text.
    """
    values: dict[str, JsonValue] = {}
    for name, value in variables.items():
        types = types_of(schemas.get(name))
        if not isinstance(value, str) or not types or "string" in types:
            values[name] = value
        elif value.strip() or "null" in types:
            values[name] = coerced(value, types)
        elif name not in optional:
            values[name] = value
    return values


def coerced(text: str, types: set[str]) -> JsonValue:
    """The text as a value of the first of these types that has it; else the text."""
    if "null" in types and not text.strip():
        return None
    for name, read in _READERS.items():
        if name in types:
            try:
                return read(text.strip())
            except _NoSuchValueError:
                continue
    return text


def types_of(schema: JsonValue, depth: int = 0) -> set[str]:
    """The names of the types that a value may have; none where the schema does not say."""
    if not isinstance(schema, dict) or depth > _MAX_DEPTH:
        return set()
    named = schema.get("type")
    if isinstance(named, str):
        return {named}
    if isinstance(named, list):
        return {name for name in named if isinstance(name, str)}
    listed = schema.get("enum", [schema["const"]] if "const" in schema else None)
    if isinstance(listed, list):
        return {_type_of(value) for value in listed}
    found: set[str] = set()
    for word in _ALTERNATIVES:
        alternatives = schema.get(word)
        if isinstance(alternatives, list):
            found.update(*(types_of(each, depth + 1) for each in alternatives))
    return found


def _type_of(value: JsonValue) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "string"
    return "array" if isinstance(value, list) else "object"


def _integer(text: str) -> JsonValue:
    if not _INTEGER.fullmatch(text):
        raise _NoSuchValueError
    return int(text)


def _number(text: str) -> JsonValue:
    if _INTEGER.fullmatch(text):
        return int(text)
    if not _NUMBER.fullmatch(text) or not math.isfinite(value := float(text)):
        raise _NoSuchValueError
    return value


def _boolean(text: str) -> JsonValue:
    try:
        return _BOOLEANS[text.lower()]
    except KeyError:
        raise _NoSuchValueError from None


def _json(kind: type) -> Callable[[str], JsonValue]:
    def read(text: str) -> JsonValue:
        try:
            value: JsonValue = msgspec.json.decode(text, type=kind)
        except (msgspec.DecodeError, msgspec.ValidationError, RecursionError):
            raise _NoSuchValueError from None
        return value

    return read


#: In the order in which they are tried: 1 is an integer where it may be that or true.
_READERS: dict[str, Callable[[str], JsonValue]] = {
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
    "array": _json(list),
    "object": _json(dict),
}
