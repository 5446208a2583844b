"""Reads the operations of an OpenAPI document (3.0 to 3.2) that tools can be made of. Pure.

The arguments of a tool are the operation's parameters and the fields of its JSON body. References
within the document are kept, as `$defs`; others are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from chat.reasons import Reason, ReasonError

#: Operations of one document that are read.
MAX_OPERATIONS = 2_000
_MAX_DEPTH = 60
#: Definitions that one operation may refer to, with all that those refer to.
_MAX_DEFINITIONS = 200
_METHODS = ("get", "post", "put", "patch", "delete")
_PLACES = ("path", "query", "header")
_NO_NAME = re.compile(r"[^A-Za-z0-9_.-]+")
_SCHEMAS = "#/components/schemas/"
#: Of a schema in version 3.0, which JSON Schema does not know.
_FOREIGN_KEYWORDS = frozenset({"nullable", "discriminator", "xml", "externalDocs", "example"})


class DocumentError(ReasonError):
    """The document cannot be used; the reason is for who gave it."""


class OperationError(ReasonError):
    """An operation of the document cannot be used."""


@dataclass(frozen=True, slots=True)
class Operation:
    """What a tool is made of. `refused_for`: why it cannot be."""

    #: Its `operationId`, or method and path.
    key: str
    name: str
    method: str
    path: str
    title: str
    description: str
    input_schema: dict[str, Any] = field(default_factory=dict)
    parameters: dict[str, dict[str, str]] = field(default_factory=dict)
    refused_for: Reason | None = None

    @property
    def problem(self) -> str:
        return str(self.refused_for or "")


def operations_of(document: Any) -> list[Operation]:
    """Return the operations that a document describes. Raises DocumentError for what is no OpenAPI
    document."""
    if not isinstance(document, dict):
        raise DocumentError(Reason.of("document_no_object"))
    version = document.get("openapi")
    if not isinstance(version, str) or not re.match(r"3\.[012](\.|$)", version):
        raise DocumentError(Reason.of("document_version"))
    paths = document.get("paths")
    if not isinstance(paths, dict):
        raise DocumentError(Reason.of("document_no_paths"))
    reader = _Reader(document)
    found: list[Operation] = []
    for path, method, item, operation in _listed(paths):
        if len(found) >= MAX_OPERATIONS:
            raise DocumentError(Reason.of("document_operations", limit=MAX_OPERATIONS))
        found.append(reader.read(path, method, item, operation))
    return found


def _listed(paths: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any], dict[str, Any]]]:
    for path, item in paths.items():
        if not isinstance(item, dict):
            continue
        for method in _METHODS:
            operation = item.get(method)
            if isinstance(operation, dict):
                yield path, method, item, operation


def _text(value: object) -> str:
    return value.strip() if isinstance(value, str) else ""


class _Reader:
    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document

    def read(
        self, path: str, method: str, item: Mapping[str, Any], operation: Mapping[str, Any]
    ) -> Operation:
        key = _text(operation.get("operationId")) or f"{method.upper()} {path}"
        title, description = _text(operation.get("summary")), _text(operation.get("description"))
        # `GET /orders/{id}` becomes get_orders_id.
        source = _text(operation.get("operationId")) or f"{method} {path}"
        common: dict[str, Any] = {
            "key": key[:200],
            "name": _NO_NAME.sub("_", source).strip("_")[:128] or method,
            "method": method.upper(),
            "path": path,
            "title": title[:200],
            "description": "\n\n".join(part for part in (title, description) if part),
        }
        try:
            schema, parameters = self._arguments(path, item, operation)
        except OperationError as error:
            return Operation(**common, refused_for=error.reason)
        return Operation(**common, input_schema=schema, parameters=parameters)

    def _arguments(
        self, path: str, item: Mapping[str, Any], operation: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, dict[str, str]]]:
        """The schema of a tool's arguments, and where each goes. Raises OperationError."""
        arguments = _Arguments()
        for parameter in self._parameters(item, operation):
            self._add_parameter(arguments, parameter)
        body = self._resolved(operation.get("requestBody"))
        if isinstance(body, dict):
            self._add_body(arguments, body)
        missing = set(re.findall(r"\{([^{}]+)\}", path)) - arguments.in_path
        if missing:
            raise OperationError(Reason.of("path_parameter", name=min(missing)))
        return self._with_definitions(arguments.schema()), arguments.parameters

    def _parameters(
        self, item: Mapping[str, Any], operation: Mapping[str, Any]
    ) -> list[dict[str, Any]]:
        """The operation's own go before those of its path."""
        found: dict[tuple[str, str], dict[str, Any]] = {}
        for owner in (item, operation):
            listed = owner.get("parameters")
            for given in listed if isinstance(listed, list) else ():
                parameter = self._resolved(given)
                if isinstance(parameter, dict):
                    found[_text(parameter.get("in")), _text(parameter.get("name"))] = parameter
        return list(found.values())

    def _add_parameter(self, arguments: _Arguments, parameter: Mapping[str, Any]) -> None:
        place, name = _text(parameter.get("in")), _text(parameter.get("name"))
        is_required = parameter.get("required") is True or place == "path"
        if place not in _PLACES or not name:
            if is_required:
                reason = Reason.of("parameter_place", name=repr(name), place=repr(place))
                raise OperationError(reason)
            return
        if place == "header" and name.lower() in ("accept", "content-type", "authorization"):
            return  # aily sets them itself
        schema = parameter.get("schema")
        given = dict(schema) if isinstance(schema, dict) else {}
        if description := _text(parameter.get("description")):
            given.setdefault("description", description)
        arguments.add(name, given, {"in": place, "name": name}, is_required=is_required)

    def _add_body(self, arguments: _Arguments, body: Mapping[str, Any]) -> None:
        content = body.get("content")
        kinds = content if isinstance(content, dict) else {}
        media = next((kinds[kind] for kind in kinds if "json" in kind.lower()), None)
        is_required = body.get("required") is True
        if not isinstance(media, dict):
            if is_required:
                raise OperationError(Reason("body_no_json"))
            return
        schema = self._resolved(media.get("schema"))
        if not isinstance(schema, dict):
            schema = {}
        properties = schema.get("properties")
        is_plain = not schema.keys() & {"allOf", "anyOf", "oneOf"}
        if (
            isinstance(properties, dict)
            and is_plain
            and not properties.keys() & arguments.properties.keys()
        ):
            needed = schema.get("required")
            names = needed if isinstance(needed, list) and is_required else []
            for name, of_field in properties.items():
                place = {"in": "body", "name": name}
                arguments.add(name, of_field, place, is_required=name in names)
        else:
            # As a whole; the name in the body is empty.
            given = media.get("schema") if isinstance(media.get("schema"), dict) else {}
            arguments.add("body", given, {"in": "body", "name": ""}, is_required=is_required)

    # --- References -----------------------------------------------------------------------------
    def _resolved(self, value: Any) -> Any:
        """The object that a reference names. Raises OperationError."""
        for _ in range(_MAX_DEPTH):
            if not isinstance(value, dict) or not isinstance(value.get("$ref"), str):
                return value
            value = self._target(value["$ref"])
        raise OperationError(Reason("circular_references"))

    def _target(self, reference: str) -> Any:
        if not reference.startswith("#/"):
            raise OperationError(Reason.of("other_document", reference=reference[:100]))
        found: Any = self._document
        for part in reference[2:].split("/"):
            name = part.replace("~1", "/").replace("~0", "~")
            if not isinstance(found, dict) or name not in found:
                raise OperationError(Reason.of("dead_reference", reference=reference[:100]))
            found = found[name]
        return found

    def _with_definitions(self, schema: dict[str, Any]) -> dict[str, Any]:
        """The schema with all that it refers to as `$defs`, in the words of JSON Schema."""
        definitions: dict[str, Any] = {}
        wanted: list[str] = []
        written = _rewritten(schema, wanted, 0)
        while wanted:
            reference = wanted.pop()
            name = _definition_name(reference)
            if name in definitions:
                continue
            if len(definitions) >= _MAX_DEFINITIONS:
                raise OperationError(Reason.of("too_many_referred", limit=_MAX_DEFINITIONS))
            definitions[name] = _rewritten(self._target(reference), wanted, 0)
        return {**written, "$defs": definitions} if definitions else written


def _definition_name(reference: str) -> str:
    return reference.removeprefix(_SCHEMAS).removeprefix("#/").replace("/", ".")


def _rewritten(schema: Any, wanted: list[str], depth: int) -> Any:
    """A schema in the words of JSON Schema 2020-12; references that it has are added to `wanted`.

    Raises OperationError.
    """
    if depth > _MAX_DEPTH:
        raise OperationError(Reason("schemas_too_deep"))
    if isinstance(schema, list):
        return [_rewritten(item, wanted, depth + 1) for item in schema]
    if not isinstance(schema, dict):
        return schema
    written: dict[str, Any] = {}
    for keyword, value in schema.items():
        if keyword == "$ref" and isinstance(value, str):
            wanted.append(value)
            written[keyword] = f"#/$defs/{_definition_name(value)}"
        elif keyword in ("enum", "const", "default", "examples"):
            written[keyword] = value
        elif keyword in ("properties", "patternProperties", "$defs") and isinstance(value, dict):
            # Its names are no keywords.
            written[keyword] = {
                name: _rewritten(item, wanted, depth + 1) for name, item in value.items()
            }
        elif keyword not in _FOREIGN_KEYWORDS:
            written[keyword] = _rewritten(value, wanted, depth + 1)
    return _without_version_3_0(written, is_nullable=schema.get("nullable") is True)


def _without_version_3_0(schema: dict[str, Any], *, is_nullable: bool) -> dict[str, Any]:
    for exclusive, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if isinstance(schema.get(exclusive), bool):
            is_exclusive = schema.pop(exclusive)
            if is_exclusive and bound in schema:
                schema[exclusive] = schema.pop(bound)
    if not is_nullable:
        return schema
    kind = schema.get("type")
    if isinstance(kind, str):
        schema["type"] = [kind, "null"]
        if isinstance(schema.get("enum"), list) and None not in schema["enum"]:
            schema["enum"] = [*schema["enum"], None]
        return schema
    return {"anyOf": [schema, {"type": "null"}]}


@dataclass(slots=True)
class _Arguments:
    """The arguments of a tool, as they are found."""

    properties: dict[str, Any] = field(default_factory=dict)
    required: list[str] = field(default_factory=list)
    parameters: dict[str, dict[str, str]] = field(default_factory=dict)
    in_path: set[str] = field(default_factory=set)

    def add(self, name: str, schema: Any, place: dict[str, str], *, is_required: bool) -> None:
        argument = name
        while argument in self.properties:
            # Of the same name in another place.
            argument = f"{place['in']}_{argument}"
        self.properties[argument] = schema
        self.parameters[argument] = place
        if is_required:
            self.required.append(argument)
        if place["in"] == "path":
            self.in_path.add(place["name"])

    def schema(self) -> dict[str, Any]:
        written: dict[str, Any] = {"type": "object", "properties": self.properties}
        if self.required:
            written["required"] = self.required
        return {**written, "additionalProperties": False}
