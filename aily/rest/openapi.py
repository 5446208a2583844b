"""Completes ninja's OpenAPI document, in one place for all operations.

The problems that an operation can answer with follow from its shape: an operation with a body can
get a wrong one. Examples are those of the schemas.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ninja.operation import Operation
from pydantic import ConfigDict, JsonValue

#: A JSON object, such as a part of the document.
JsonObject = dict[str, Any]

PROBLEM_TYPE = "application/problem+json"
_MAX_DEPTH = 8

#: By status: the name of the problem among the components, and when it is answered.
_PROBLEMS = {
    400: ("BadRequest", "Something in the request cannot be read; `errors` names it."),
    401: ("Unauthorized", "No credentials, or they do not work."),
    403: ("Forbidden", "Not allowed; with a session also: the CSRF token is missing or wrong."),
    404: ("NotFound", "There is no such thing, or it is not yours."),
    409: ("Conflict", "The state does not allow it, or the name is taken."),
    412: ("PreconditionFailed", "Changed since the ETag in If-Match was read."),
    413: ("TooLarge", "The body, or the prompt made of it, is over its limit."),
    415: ("UnsupportedMediaType", "The body is not application/json."),
    422: ("UnprocessableContent", "A field is missing, wrong or unknown; `errors` names each."),
    429: ("TooManyRequests", "A limit or budget is used up."),
    500: ("InternalServerError", "A fault of aily's. It has been logged."),
    503: ("Unavailable", "A server that aily needs is away."),
}
_PROBLEM_SCHEMA: JsonObject = {
    "title": "Problem",
    "description": "RFC 9457 problem details. Programs go by `code`.",
    "type": "object",
    "properties": {
        "type": {"type": "string", "examples": ["urn:aily:problem:invalid_request"]},
        "title": {"type": "string", "examples": ["Invalid request"]},
        "status": {"type": "integer", "examples": [422]},
        "detail": {"type": "string", "examples": ["name: Field required"]},
        "instance": {"type": "string", "examples": ["/api/keys"]},
        "code": {"type": "string", "examples": ["invalid_request"]},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "field": {"type": "string", "examples": ["name"]},
                    "message": {"type": "string", "examples": ["Field required"]},
                    "params": {
                        "description": "The `rule` that the field breaks, and its `limit`.",
                        "type": "object",
                        "additionalProperties": {"anyOf": [{"type": "string"}, {"type": "number"}]},
                    },
                },
                "required": ["field", "message"],
            },
        },
        "params": {
            "description": "What a text in another language needs, such as a `limit`.",
            "type": "object",
            "additionalProperties": {"anyOf": [{"type": "string"}, {"type": "number"}]},
        },
        "limit": {
            "description": "The limit that is used up.",
            "type": "object",
            "properties": {"name": {"type": "string"}, "value": {"type": "integer"}},
        },
        "budget": {
            "description": "The budget that is used up; numbers are texts.",
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "unit": {"type": "string"},
                "period": {"type": "string"},
                **{
                    name: {"anyOf": [{"type": "string"}, {"type": "null"}]}
                    for name in ("limit", "left", "reserved", "ends_at")
                },
            },
        },
    },
    "required": ["type", "title", "status", "detail", "instance", "code"],
}


def _header(description: str, **schema: object) -> JsonObject:
    return {"description": description, "schema": {"type": "string", **schema}}


_HEADERS = {
    "X-Request-ID": _header("The request's id, as in the log; the caller's own where it sent one."),
    "RateLimit-Policy": _header('Requests a window, such as `"requests";q=600;w=60`.'),
    "RateLimit": _header('What is left and until when, such as `"requests";r=599;t=12`.'),
    "Retry-After": _header("Seconds to wait.", type="integer", minimum=1),
    "WWW-Authenticate": _header("Always `Bearer`."),
    "Location": _header("Where the task is.", format="uri-reference"),
    "ETag": _header("Of this representation; for If-None-Match and If-Match."),
}
_RATE_HEADERS = ("RateLimit-Policy", "RateLimit")
_PROBLEM_HEADERS = {
    401: ("WWW-Authenticate",),
    409: ("Retry-After",),
    429: ("Retry-After", *_RATE_HEADERS),
    503: ("Retry-After",),
}


def _header_parameter(name: str, description: str, **schema: object) -> JsonObject:
    where = {"in": "header", "name": name, "required": False}
    return {**where, "description": description, "schema": {"type": "string", **schema}}


_PARAMETERS = {
    "Idempotency-Key": _header_parameter(
        "Idempotency-Key",
        "Your own name for this request. Repeated with it within a day, the request is not carried "
        "out again, and answered as the first time.",
        minLength=1,
        maxLength=255,
        pattern="^[!#-~]+$",
        examples=["order-4711"],
    ),
    "If-Match": _header_parameter(
        "If-Match",
        "The ETag that was read. Changed since, the request is refused (412).",
        examples=['"3f0a9c"'],
    ),
    "If-None-Match": _header_parameter(
        "If-None-Match",
        "The ETag of what one has. Unchanged, the answer is 304 and has no body.",
        examples=['"3f0a9c"'],
    ),
}


def takes_header(name: str) -> Callable[[Operation], None]:
    """For ninja's `contribute_operation_callback`: documents that the operation reads a header."""

    def contribute(operation: Operation) -> None:
        extra = operation.openapi_extra or {}
        parameters = [*extra.get("parameters", ()), _ref("parameters", name)]
        operation.openapi_extra = {**extra, "parameters": parameters}

    return contribute


def example(**fields: JsonValue) -> ConfigDict:
    """`model_config` of a schema with an example; required schemas inside it may be left out.

    Subclasses inherit the example.
    """
    return ConfigDict(json_schema_extra={"examples": [fields]})


def partial_example(**fields: JsonValue) -> ConfigDict:
    """The same for a part of a PATCH body, whose missing fields keep their values."""

    def extend(schema: JsonObject) -> None:
        schema["examples"] = [fields]
        _drop_defaults(schema)

    return ConfigDict(json_schema_extra=extend)


def _drop_defaults(schema: JsonObject) -> None:
    """Document no defaults: generated clients would send them, and overwrite what is stored."""
    for field in schema.get("properties", {}).values():
        field.pop("default", None)


def documented_responses(responses: JsonObject, *problems: int) -> JsonObject:
    """`openapi_extra` with responses and problems that do not follow from the operation's shape."""
    return {"responses": {**responses, **{status: _problem_ref(status) for status in problems}}}


def add_standard_parts(document: JsonObject) -> None:
    """Add problems, headers, conditional requests and examples to ninja's document."""
    components = document["components"]
    components["schemas"]["Problem"] = _PROBLEM_SCHEMA
    components["headers"] = _HEADERS
    components["parameters"] = _PARAMETERS
    components["responses"] = {
        name: _problem_response(status, name, text) for status, (name, text) in _PROBLEMS.items()
    }
    for name in _patch_bodies(document):
        _drop_defaults(components["schemas"][name])
    # HEAD and other methods share a GET's details object, so each object is completed once.
    for schema in components["schemas"].values():
        _drop_defaults_of_objects(schema)
        if "examples" in schema:
            schema["examples"] = [example_of(schema, components["schemas"])]
    for path in document["paths"].values():
        for method, operation in path.items():
            _complete_operation(method, operation)
            _add_examples(operation, components["schemas"])


def _patch_bodies(document: JsonObject) -> Iterator[str]:
    """Names of the schemas of PATCH bodies."""
    for operations in document["paths"].values():
        body = operations.get("patch", {}).get("requestBody", {})
        for content in body.get("content", {}).values():
            yield content["schema"]["$ref"].rpartition("/")[2]


def _drop_defaults_of_objects(schema: JsonObject) -> None:
    """A field that is an object of a schema of its own: generators take no default for one."""
    for name, field in schema.get("properties", {}).items():
        references = field.get("allOf", [field] if "$ref" in field else [])
        if len(references) == 1 and "$ref" in references[0]:
            described = {key: field[key] for key in ("description",) if key in field}
            schema["properties"][name] = {**references[0], **described}
            schema["properties"][name].pop("default", None)


def _ref(kind: str, name: str) -> JsonObject:
    return {"$ref": f"#/components/{kind}/{name}"}


def _headers(names: Iterable[str]) -> JsonObject:
    return {name: _ref("headers", name) for name in ("X-Request-ID", *names)}


def _problem_ref(status: int) -> JsonObject:
    return _ref("responses", _PROBLEMS[status][0])


def _problem_response(status: int, name: str, description: str) -> JsonObject:
    example = {
        "type": f"urn:aily:problem:{name.lower()}",
        "title": name,
        "status": status,
        "detail": description,
        "instance": "/api/...",
        "code": name.lower(),
    }
    content = {PROBLEM_TYPE: {"schema": _ref("schemas", "Problem"), "example": example}}
    headers = _headers(_PROBLEM_HEADERS.get(status, ()))
    return {"description": description, "headers": headers, "content": content}


def _complete_operation(method: str, operation: JsonObject) -> None:
    responses: dict[int, JsonObject] = operation["responses"]
    parameters: list[JsonObject] = operation["parameters"]
    statuses = list(_problem_statuses(method, operation))
    for response in responses.values():
        if "$ref" not in response:
            rate = _RATE_HEADERS if method == "post" else ()
            response["headers"] = {**response.get("headers", {}), **_headers(rate)}
    if method == "get" and "application/json" in responses[200].get("content", {}):
        parameters.append(_ref("parameters", "If-None-Match"))
        responses[200]["headers"]["ETag"] = _ref("headers", "ETag")
        headers = {**_headers(()), "ETag": _ref("headers", "ETag")}
        responses[304] = {"description": "Not Modified", "headers": headers}
    for status in statuses:
        responses.setdefault(status, _problem_ref(status))
    operation["responses"] = {str(status): responses[status] for status in sorted(responses)}


def _problem_statuses(method: str, operation: JsonObject) -> Iterator[int]:
    yield from (401, 403, 500, 503)
    parameters = operation["parameters"]
    references = {parameter.get("$ref", "").rpartition("/")[2] for parameter in parameters}
    if "requestBody" in operation:
        yield from (413, 415)
    if "requestBody" in operation or any(parameter.get("in") != "path" for parameter in parameters):
        yield from (400, 422)
    if any(parameter.get("in") == "path" for parameter in parameters):
        yield 404
    if method != "get":
        yield 409
    if method == "post":
        yield 429
    if "If-Match" in references:
        yield 412


# --- Examples -----------------------------------------------------------------------------------
def _add_examples(operation: JsonObject, schemas: JsonObject) -> None:
    bodies = [operation["requestBody"]] if "requestBody" in operation else []
    for described in [*bodies, *operation["responses"].values()]:
        for content_type, content in described.get("content", {}).items():
            if content_type == "application/json":
                content["schema"] = _without_default(content["schema"])
                content["example"] = example_of(content["schema"], schemas)


def _without_default(schema: JsonObject) -> JsonObject:
    """The schema alone, of a body that may be left out: its fields have their defaults."""
    if "default" in schema and len(schema.get("allOf", ())) == 1:
        body: JsonObject = schema["allOf"][0]
        return body
    return schema


_BY_FORMAT = {
    "uuid": "0198c0de-7a11-7000-8000-0123456789ab",
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00Z",
    "password": "a long sentence",
}
_BY_TYPE: dict[str, object] = {
    "integer": 1,
    "number": 1.0,
    "boolean": True,
    "string": "text",
    "null": None,
}


def example_of(schema: JsonObject, schemas: JsonObject, depth: int = 0) -> object:
    """A value of this JSON schema: its own example or default, or one that fits its type."""
    if "$ref" in schema:
        schema = {**schemas[schema["$ref"].rpartition("/")[2]], **schema}
    for known in ("const", "default", "example"):
        if known in schema:
            return schema[known]
    if "properties" in schema:
        return _example_of_object(schema, schemas, depth)
    for several in ("examples", "enum", "anyOf", "oneOf", "allOf"):
        if several in schema:
            first = schema[several][0]
            is_value = several in {"examples", "enum"}
            return first if is_value else example_of(first, schemas, depth + 1)
    match schema.get("type"):
        case "object":
            return {}
        case "array":
            wanted = depth < _MAX_DEPTH and schema.get("items")
            return [example_of(schema["items"], schemas, depth + 1)] if wanted else []
        case kind:
            return _BY_FORMAT.get(schema.get("format", ""), _BY_TYPE.get(str(kind)))


def _example_of_object(schema: JsonObject, schemas: JsonObject, depth: int) -> JsonObject:
    """Its own example with what that leaves out of what is required; or all there can be."""
    own: JsonObject = schema.get("examples", [{}])[0]
    wanted = schema.get("required", ()) if own else schema["properties"]
    return {
        name: own[name]
        if name in own
        else example_of(schema["properties"][name], schemas, depth + 1)
        for name in dict.fromkeys([*own, *wanted])
    }
