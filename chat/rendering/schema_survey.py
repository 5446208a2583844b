"""Checks a JSON Schema (2020-12) before it is used: its references, its patterns, its work."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from chat.reasons import Reason, ReasonError
from chat.rendering.patterns import PatternError, compile_pattern

if TYPE_CHECKING:
    from pydantic import JsonValue

#: Subschemas that may apply to one value, those behind a `$ref` counted at each place that leads to
#: them: chains of references double with each link.
MAX_APPLIED = 1_000
#: More names or alternatives at one place are data, which belongs into the template's variables.
MAX_ENTRIES = 1_000

_REFERENCES = ("$ref", "$dynamicRef")
#: Keywords whose subschemas apply to the same value: those that hold a list of them, a single one,
#: or one by name.
_SAME_LISTS = ("allOf", "anyOf", "oneOf")
_SAME_SINGLES = ("not", "if", "then", "else")
_SAME_MAPS = ("dependentSchemas",)
#: Keywords whose subschemas apply to values inside the value, or to none.
_INNER_LISTS = ("prefixItems",)
_INNER_SINGLES = (
    "items", "contains", "additionalProperties", "propertyNames", "unevaluatedItems",
    "unevaluatedProperties", "contentSchema",
)  # fmt: skip
_INNER_MAPS = ("properties", "patternProperties", "$defs", "definitions")
_UNEVALUATED = ("unevaluatedItems", "unevaluatedProperties")
_COUNTED = ("properties", "patternProperties", "enum", "required", "dependentRequired")
#: With no other keywords, one subschema checks each value, in a time linear in its size.
_LINEAR = frozenset([
    "$comment", "$defs", "$ref", "$schema", "additionalProperties", "const", "default",
    "deprecated", "description", "enum", "examples", "exclusiveMaximum", "exclusiveMinimum",
    "format", "items", "maxItems", "maxLength", "maxProperties", "maximum", "minItems", "minLength",
    "minProperties", "minimum", "multipleOf", "pattern", "properties", "readOnly", "required",
    "title", "type", "uniqueItems", "writeOnly",
])  # fmt: skip
_MAX_LINEAR_ENUM = 100
_MAX_PATH = 100


class SurveyError(ReasonError):
    """The schema cannot be used; the reason has where and why."""


class Survey:
    """`is_linear`: checking a value takes a time that is linear in its size.

    `max_applied`: subschemas that apply to one value, at most. `pattern_size`: of all patterns
    together, in instructions.
    """

    def __init__(self, schema: dict[str, JsonValue]) -> None:
        """Raises SurveyError; RecursionError where it is nested too deeply."""
        registry: Registry[object] = Registry()
        root = DRAFT202012.create_resource(schema)
        self._resolver = registry.with_resource("", root).resolver("")
        self.is_linear = True
        self.pattern_size = 0
        self.max_applied = 1
        self._seen: set[int] = set()
        #: Subschemas applied to a value, by the id of the schema; None while it is being counted.
        self._applied: dict[int, int | None] = {}
        self._open: set[int] = set()
        self._visit(schema, "$")

    # --- Everything that is a schema ------------------------------------------------------------
    def _visit(self, schema: object, path: str) -> None:
        if isinstance(schema, bool):
            return
        if not isinstance(schema, dict):
            raise SurveyError(Reason.of("no_schema", place=_shortened(path)))
        if id(schema) in self._open:
            # It contains itself, as trees do: the work depends on the depth of the value.
            self.is_linear = False
        if id(schema) in self._seen:
            return
        self._seen.add(id(schema))
        self._open.add(id(schema))
        self._check(schema, path)
        for subschema, place in self._same(schema, path):
            self._visit(subschema, place)
        for subschema, place in _inner(schema, path):
            self._visit(subschema, place)
        self._open.discard(id(schema))
        self._count_applied(schema, path)

    def _check(self, schema: dict[str, object], path: str) -> None:
        if "$schema" in schema and path != "$":
            raise SurveyError(Reason.of("inner_dialect", place=_shortened(path)))
        if "$id" in schema and path != "$":
            # References below it would lead elsewhere than here, where they are counted.
            raise SurveyError(Reason.of("inner_id", place=_shortened(path)))
        for keyword in _COUNTED:
            entries = schema.get(keyword)
            if isinstance(entries, list | dict) and len(entries) > MAX_ENTRIES:
                place = _shortened(f"{path}.{keyword}")
                raise SurveyError(Reason.of("more_entries", place=place, limit=MAX_ENTRIES))
        if isinstance(pattern := schema.get("pattern"), str):
            self._check_pattern(pattern, f"{path}.pattern")
        if isinstance(patterns := schema.get("patternProperties"), dict):
            for source in patterns:
                self._check_pattern(source, f"{path}.patternProperties")
        self.is_linear = self.is_linear and _is_linear(schema)

    def _check_pattern(self, pattern: str, path: str) -> None:
        try:
            size = compile_pattern(pattern).size
        except PatternError as error:
            reason = Reason.of(
                "pattern_unusable",
                place=_shortened(path),
                pattern=repr(pattern[:100]),
                detail=error,
            )
            raise SurveyError(reason) from None
        self.pattern_size += size

    # --- What applies to one value --------------------------------------------------------------
    def _same(self, schema: dict[str, object], path: str) -> Iterator[tuple[object, str]]:
        yield from _subschemas(schema, path, _SAME_LISTS, _SAME_SINGLES, _SAME_MAPS)
        for keyword in _REFERENCES:
            if isinstance(reference := schema.get(keyword), str):
                yield self._target(reference, f"{path}.{keyword}"), f"{path}.{keyword}"

    def _target(self, reference: str, path: str) -> object:
        if not reference.startswith("#"):
            raise SurveyError(Reason.of("foreign_ref", place=_shortened(path)))
        try:
            return self._resolver.lookup(reference).contents
        except Unresolvable as error:
            reason = Reason.of("dead_ref", place=_shortened(path), detail=error)
            raise SurveyError(reason) from None

    def _count_applied(self, schema: object, path: str) -> int:
        if not isinstance(schema, dict):
            return 1
        known = self._applied.get(id(schema), 0)
        if known is None:
            raise SurveyError(Reason.of("circular_ref", place=_shortened(path)))
        if known:
            return known
        self._applied[id(schema)] = None
        total = 1
        for subschema, place in self._same(schema, path):
            total += self._count_applied(subschema, place)
        if any(keyword in schema for keyword in _UNEVALUATED):
            # jsonschema applies all of them once more to find out what they have looked at.
            total *= 2
        if total > MAX_APPLIED:
            reason = Reason.of("more_schemas", place=_shortened(path), limit=MAX_APPLIED)
            raise SurveyError(reason)
        self._applied[id(schema)] = total
        self.max_applied = max(self.max_applied, total)
        return total


def _shortened(path: str) -> str:
    return path if len(path) <= _MAX_PATH else f"{path[:_MAX_PATH]}..."


def _inner(schema: dict[str, object], path: str) -> Iterator[tuple[object, str]]:
    return _subschemas(schema, path, _INNER_LISTS, _INNER_SINGLES, _INNER_MAPS)


def _subschemas(
    schema: dict[str, object],
    path: str,
    lists: tuple[str, ...],
    singles: tuple[str, ...],
    maps: tuple[str, ...],
) -> Iterator[tuple[object, str]]:
    for keyword in singles:
        if keyword in schema:
            yield schema[keyword], f"{path}.{keyword}"
    for keyword in lists:
        if isinstance(schemas := schema.get(keyword), list):
            for number, subschema in enumerate(schemas):
                yield subschema, f"{path}.{keyword}[{number}]"
    for keyword in maps:
        if isinstance(named := schema.get(keyword), dict):
            for name, subschema in named.items():
                yield subschema, f"{path}.{keyword}.{name[:50]}"


def _is_linear(schema: dict[str, object]) -> bool:
    enum = schema.get("enum")
    alternatives = enum if isinstance(enum, list) else []
    are_few = len(alternatives) <= _MAX_LINEAR_ENUM
    return (
        schema.keys() <= _LINEAR
        and are_few
        and not any(
            isinstance(value, dict | list) for value in (*alternatives, schema.get("const"))
        )
    )
