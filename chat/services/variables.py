"""A scene's variables, checked against its JSON Schema (2020-12) before they reach a template."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from jsonschema import Draft202012Validator, SchemaError, ValidationError
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from chat.exceptions import InvalidTemplate, InvalidVariable

SCHEMA_MAX_BYTES = 65_536
_FIELD = "variables_schema"


def default_schema(names: Collection[str]) -> dict[str, Any]:
    """The schema of a scene that was given none: every name is a required string, no others."""
    return {
        "type": "object",
        "properties": {name: {"type": "string"} for name in sorted(names)},
        "required": sorted(names),
        "additionalProperties": False,
    }


class VariablesSchema:
    """A checked schema; any number of threads may validate with it at once."""

    def __init__(self, schema: Any, names: Collection[str]) -> None:
        """`names`: the variables that the templates use. Raises InvalidTemplate."""
        if not isinstance(schema, dict) or schema.get("type", "object") != "object":
            raise InvalidTemplate("This must be the schema of an object.", field=_FIELD)
        if len(json.dumps(schema)) > SCHEMA_MAX_BYTES:
            message = f"A schema may have {SCHEMA_MAX_BYTES} bytes at most."
            raise InvalidTemplate(message, field=_FIELD)
        self.schema = schema or default_schema(names)
        try:
            Draft202012Validator.check_schema(self.schema)
            _check_references(self.schema)
            # An empty registry: nothing is ever fetched.
            self._validator = Draft202012Validator(self.schema, registry=Registry())
            self._validator.is_valid({})
        except SchemaError as error:
            raise InvalidTemplate(f"{error.json_path}: {error.message}", field=_FIELD) from None
        except (Unresolvable, RecursionError) as error:
            raise InvalidTemplate(f"A $ref leads nowhere: {error}", field=_FIELD) from None
        self._check_names(names)
        self._is_default = self.schema == default_schema(names)
        self._names = set(names)

    def _check_names(self, names: Collection[str]) -> None:
        if self.schema.get("additionalProperties") is not False:
            return
        unlisted = set(names) - self.schema.get("properties", {}).keys()
        if unlisted and "patternProperties" not in self.schema:
            message = f"The templates use what this schema does not allow: {sorted(unlisted)}"
            raise InvalidTemplate(message, field=_FIELD)

    def validate(self, variables: Mapping[str, Any]) -> None:
        """Raises InvalidVariable, which names the first wrong one."""
        if self._is_default and _are_strings(variables, self._names):
            return  # jsonschema would take 50 µs
        try:
            error = next(self._validator.iter_errors(variables), None)
        except RecursionError:
            raise InvalidVariable("This is nested too deeply.", field="variables") from None
        if error is not None:
            # The message quotes the value, which may be as large as the request.
            raise InvalidVariable(error.message[:300], field=_field_of(error))


def _are_strings(variables: Any, names: set[str]) -> bool:
    is_complete = isinstance(variables, dict) and variables.keys() == names
    return is_complete and all(type(value) is str for value in variables.values())


def _field_of(error: ValidationError) -> str:
    path = ["variables", *error.absolute_path]
    instance: Any = error.instance
    value: Any = error.validator_value
    schema: Any = error.schema
    if error.validator == "required":
        path += [name for name in value if name not in instance][:1]
    elif error.validator == "additionalProperties" and value is False:
        listed = schema.get("properties", {})
        path += [name for name in instance if name not in listed][:1]
    return ".".join(str(part) for part in path)


def _check_references(schema: dict[str, Any]) -> None:
    resource = DRAFT202012.create_resource(schema)
    resolver = Registry().with_resource("", resource).resolver("")
    for reference in _references(schema):
        if not reference.startswith("#"):
            raise InvalidTemplate("A $ref may only lead into this schema.", field=_FIELD)
        resolver.lookup(reference)


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            if key in ("$ref", "$dynamicRef") and isinstance(item, str):
                yield item
            else:
                yield from _references(item)
    elif isinstance(value, list):
        for item in value:
            yield from _references(item)
