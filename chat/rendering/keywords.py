"""jsonschema's validator, with keywords that take linear time in place of its own."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from fractions import Fraction
from typing import Protocol

from jsonschema import Draft202012Validator, ValidationError
from jsonschema.protocols import Validator as JsonSchemaValidator
from jsonschema.validators import extend

from chat.rendering.patterns import compile_pattern

#: Applies to a value, or to what is in it.
_Subschema = object


class _Descending(Protocol):
    """What the keywords need of jsonschema's validator, whose own protocol leaves it out."""

    def descend(
        self,
        instance: object,
        schema: _Subschema,
        path: str | None = None,
        schema_path: str | None = None,
    ) -> Iterator[ValidationError]: ...


def _pattern(
    validator: _Descending, pattern: str, instance: object, schema: _Subschema
) -> Iterator[ValidationError]:
    if isinstance(instance, str) and not compile_pattern(pattern).matches(instance):
        yield ValidationError(f"{_shortened(instance)} does not match {pattern[:100]!r}")


def _pattern_properties(
    validator: _Descending,
    patterns: dict[str, _Subschema],
    instance: object,
    schema: _Subschema,
) -> Iterator[ValidationError]:
    if not isinstance(instance, dict):
        return
    for source, subschema in patterns.items():
        pattern = compile_pattern(source)
        for name, value in instance.items():
            if pattern.matches(name):
                yield from validator.descend(value, subschema, path=name, schema_path=source)


def _additional_properties(
    validator: _Descending,
    subschema: _Subschema,
    instance: object,
    schema: dict[str, dict[str, _Subschema]],
) -> Iterator[ValidationError]:
    if not isinstance(instance, dict):
        return
    listed = schema.get("properties", {})
    patterns = [compile_pattern(source) for source in schema.get("patternProperties", {})]
    for name, value in instance.items():
        if name in listed or any(pattern.matches(name) for pattern in patterns):
            continue
        if subschema is False:
            message = f"{_shortened(name)} is not among the properties of the schema"
            yield ValidationError(message, path=(name,))
        else:
            yield from validator.descend(value, subschema, path=name)


def _unique_items(
    validator: _Descending, is_wanted: bool, instance: object, schema: _Subschema
) -> Iterator[ValidationError]:
    if not is_wanted or not isinstance(instance, list):
        return
    seen = set()
    for number, item in enumerate(instance):
        key = _key(item)
        if key in seen:
            yield ValidationError(f"item {number} is there before")
            return
        seen.add(key)


def _key(value: object) -> Hashable:
    """Equal for values that JSON Schema calls equal: 1 is 1.0, but not true."""
    if isinstance(value, dict):
        return "object", frozenset((name, _key(item)) for name, item in value.items())
    if isinstance(value, list):
        return "array", tuple(map(_key, value))
    return (bool, value) if isinstance(value, bool) else value


def _multiple_of(
    validator: _Descending, divisor: float, instance: object, schema: _Subschema
) -> Iterator[ValidationError]:
    """As it is written: 0.07 is a multiple of 0.01, though not of its nearest binary fraction."""
    if isinstance(instance, bool) or not isinstance(instance, int | float):
        return
    if Fraction(str(instance)) % Fraction(str(divisor)):
        yield ValidationError(f"{instance} is not a multiple of {divisor}")


def _shortened(text: str) -> str:
    return repr(text if len(text) <= 100 else f"{text[:100]}...")


Validator: type[JsonSchemaValidator] = extend(
    Draft202012Validator,
    {
        "additionalProperties": _additional_properties,
        "multipleOf": _multiple_of,
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "uniqueItems": _unique_items,
    },
)
