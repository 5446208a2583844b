"""A scene's variables, checked against its JSON Schema (2020-12) before they reach a template."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

from jsonschema import ValidationError

from chat.exceptions import InvalidTemplate, InvalidVariable
from chat.reasons import Reason
from chat.rendering.json_schema import (
    MAX_MESSAGE,
    JsonSchema,
    SchemaRefusedError,
    UncheckableError,
    check_bounds,
    is_small,
)
from chat.rendering.patterns import PatternError
from chat.rendering.rules import missing_names, most_relevant, rule_of
from chat.rendering.values import Size

if TYPE_CHECKING:
    from pydantic import JsonValue

__all__ = ["FIELD", "VariablesSchema", "check_size", "default_schema", "is_small", "properties_of"]

FIELD = "variables_schema"
_MAX_NAME = 100


def default_schema(names: Collection[str]) -> dict[str, JsonValue]:
    """The schema of a scene that was given none: every name is a required string, no others."""
    return {
        "type": "object",
        "properties": {name: {"type": "string"} for name in sorted(names)},
        "required": [*sorted(names)],
        "additionalProperties": False,
    }


def check_size(schema: object) -> None:
    """Raises InvalidTemplate if it is too large to be checked, or no schema of an object."""
    if not isinstance(schema, dict) or schema.get("type", "object") != "object":
        raise InvalidTemplate.because(Reason.of("not_object_schema"), field=FIELD)
    try:
        check_bounds(schema)
    except SchemaRefusedError as error:
        raise InvalidTemplate.because(error.reason, field=FIELD) from None


def properties_of(schema: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """The subschemas of the variables that a schema lists, by name."""
    listed = schema.get("properties")
    return listed if isinstance(listed, dict) else {}


class VariablesSchema:
    """A checked schema; any number of threads may validate with it at once."""

    def __init__(self, schema: dict[str, JsonValue], names: Collection[str]) -> None:
        """`names`: the variables that the templates use. Raises InvalidTemplate."""
        check_size(schema)
        self.schema = schema or default_schema(names)
        try:
            self._checked = JsonSchema(self.schema)
        except SchemaRefusedError as error:
            raise InvalidTemplate.because(error.reason, field=FIELD) from None
        self._check_names(names)
        self._is_default = self.schema == default_schema(names)
        self._names = set(names)

    def _check_names(self, names: Collection[str]) -> None:
        if self.schema.get("additionalProperties") is not False:
            return
        unlisted = set(names) - properties_of(self.schema).keys()
        if unlisted and "patternProperties" not in self.schema:
            reason = Reason.of("unlisted_names", names=sorted(unlisted))
            raise InvalidTemplate.because(reason, field=FIELD)

    def is_little_work(self, variables: Mapping[str, JsonValue], size: Size) -> bool:
        if self._is_default and _are_strings(variables, self._names):
            return True
        return self._checked.is_little_work(size)

    def validate(self, variables: Mapping[str, JsonValue]) -> None:
        """Raises InvalidVariable, which names the first wrong one."""
        if self._is_default and _are_strings(variables, self._names):
            return  # jsonschema would take 50 µs
        try:
            errors = self._checked.errors(variables, 1)
        except PatternError as error:
            reason = Reason.of("schema_invalid", place="pattern", detail=error)
            raise InvalidTemplate.because(reason, field=FIELD) from None
        except UncheckableError as error:
            raise InvalidVariable.because(error.reason, field="variables") from None
        for found in errors:
            wrong = most_relevant(found)
            # The message quotes the value, which may be as large as the request.
            message, field = wrong.message[:MAX_MESSAGE], _field_of(wrong)
            raise InvalidVariable(message, field=field, params=rule_of(wrong))


def _are_strings(variables: object, names: set[str]) -> bool:
    return (
        isinstance(variables, dict)
        and variables.keys() == names
        and all(type(value) is str for value in variables.values())
    )


def _field_of(error: ValidationError) -> str:
    """The path of the wrong value, or of the name that is missing."""
    return _joined(["variables", *error.absolute_path, *missing_names(error)[:1]])


def _joined(path: Iterable[str | int]) -> str:
    return ".".join(str(part)[:_MAX_NAME] for part in path)
