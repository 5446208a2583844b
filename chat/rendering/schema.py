"""A scene's variables, checked against its JSON Schema (2020-12) before they reach a template."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

from jsonschema import Draft202012Validator, FormatChecker, SchemaError, ValidationError
from referencing import Registry

from chat.exceptions import InvalidTemplate, InvalidVariable
from chat.rendering.keywords import Validator
from chat.rendering.patterns import PatternError
from chat.rendering.schema_survey import Survey, SurveyError
from chat.rendering.values import OutOfBoundsError, Size, measure
from chat.rendering.work import MAX_CHECKED_VALUES, MAX_SCHEMA_BYTES, MAX_WORK

if TYPE_CHECKING:
    from pydantic import JsonValue

SCHEMA_MAX_BYTES = 65_536
SCHEMA_MAX_VALUES = 5_000
SCHEMA_MAX_DEPTH = 64
FIELD = "variables_schema"
_MAX_MESSAGE = 300
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
    """Raises InvalidTemplate where it is too large to be looked at, or no schema of an object."""
    if not isinstance(schema, dict) or schema.get("type", "object") != "object":
        raise InvalidTemplate("This must be the schema of an object.", field=FIELD)
    try:
        measure(schema, SCHEMA_MAX_BYTES, SCHEMA_MAX_VALUES, SCHEMA_MAX_DEPTH)
    except OutOfBoundsError as error:
        raise InvalidTemplate(f"This schema has {error}.", field=FIELD) from None
    if len(json.dumps(schema)) > SCHEMA_MAX_BYTES:
        message = f"A schema may have {SCHEMA_MAX_BYTES} bytes at most."
        raise InvalidTemplate(message, field=FIELD)


def properties_of(schema: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """The subschemas of the variables that a schema lists, by name."""
    listed = schema.get("properties")
    return listed if isinstance(listed, dict) else {}


def is_small(schema: dict[str, JsonValue]) -> bool:
    """Whether looking it over is little work, whatever it says."""
    return len(json.dumps(schema)) <= MAX_SCHEMA_BYTES


class VariablesSchema:
    """A checked schema; any number of threads may validate with it at once."""

    def __init__(self, schema: dict[str, JsonValue], names: Collection[str]) -> None:
        """`names`: the variables that the templates use. Raises InvalidTemplate."""
        check_size(schema)
        self.schema = schema or default_schema(names)
        try:
            # Without formats: those of patterns are Python's.
            Draft202012Validator.check_schema(self.schema, format_checker=FormatChecker(()))
            self._survey = Survey(self.schema)
        except SchemaError as error:
            message = f"{error.json_path}: {error.message}"
            raise InvalidTemplate(message[:_MAX_MESSAGE], field=FIELD) from None
        except SurveyError as error:
            raise InvalidTemplate(str(error)[:_MAX_MESSAGE], field=FIELD) from None
        except RecursionError:
            raise InvalidTemplate("Its $refs are nested too deeply.", field=FIELD) from None
        # A `$schema` would have jsonschema take its own keywords. An empty registry: nothing is
        # ever fetched.
        used = {keyword: value for keyword, value in self.schema.items() if keyword != "$schema"}
        self._validator = Validator(used, registry=Registry())
        self._check_names(names)
        self._is_default = self.schema == default_schema(names)
        self._names = set(names)

    def _check_names(self, names: Collection[str]) -> None:
        if self.schema.get("additionalProperties") is not False:
            return
        unlisted = set(names) - properties_of(self.schema).keys()
        if unlisted and "patternProperties" not in self.schema:
            message = f"The templates use what this schema does not allow: {sorted(unlisted)}"
            raise InvalidTemplate(message[:_MAX_MESSAGE], field=FIELD)

    def is_little_work(self, variables: Mapping[str, JsonValue], size: Size) -> bool:
        if self._is_default and _are_strings(variables, self._names):
            return True
        return (
            self._survey.is_linear
            and size.values * self._survey.max_applied <= MAX_CHECKED_VALUES
            and self._survey.pattern_size * size.bytes <= MAX_WORK
        )

    def validate(self, variables: Mapping[str, JsonValue]) -> None:
        """Raises InvalidVariable, which names the first wrong one."""
        if self._is_default and _are_strings(variables, self._names):
            return  # jsonschema would take 50 µs
        try:
            error = next(self._validator.iter_errors(variables), None)
        except RecursionError:
            raise InvalidVariable("This is nested too deeply.", field="variables") from None
        except PatternError as error:
            raise InvalidTemplate(f"A pattern cannot be used: {error}.", field=FIELD) from None
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - some keywords fail with some values
            message = f"These cannot be checked: {type(error).__name__}: {error}"
            raise InvalidVariable(message[:_MAX_MESSAGE], field="variables") from None
        if error is not None:
            # The message quotes the value, which may be as large as the request.
            raise InvalidVariable(error.message[:_MAX_MESSAGE], field=_field_of(error))


def _are_strings(variables: object, names: set[str]) -> bool:
    return (
        isinstance(variables, dict)
        and variables.keys() == names
        and all(type(value) is str for value in variables.values())
    )


def _field_of(error: ValidationError) -> str:
    """The path of the wrong value; of an object, that of the name that is missing or too much."""
    path = ["variables", *error.absolute_path]
    instance, value, schema = error.instance, error.validator_value, error.schema
    if not isinstance(instance, dict) or not isinstance(schema, dict):
        return _joined(path)
    if error.validator == "required" and isinstance(value, list):
        path += [name for name in value if name not in instance][:1]
    elif error.validator == "additionalProperties" and value is False:
        path += [name for name in instance if name not in properties_of(schema)][:1]
    return _joined(path)


def _joined(path: Iterable[str | int]) -> str:
    return ".".join(str(part)[:_MAX_NAME] for part in path)
