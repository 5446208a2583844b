"""The JSON Schema that a task's answer must fit: a request's, or its scene's."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec
from pydantic import JsonValue

from aily.problems import InvalidRequest
from aily.redis.rates import Rate
from chat.exceptions import because
from chat.models import Scene, SceneVersion
from chat.rendering.json_schema import SchemaRefusedError, check_bounds
from chat.services.parameters import Object
from chat.structured.formats import OutputFormat, asks_for_schema, of_scene

FIELD = "response_format.json_schema.schema"
#: Schemas that are known to be usable, by their digests, the last ones.
_MAX_CHECKED = 10_000
_checked: dict[bytes, None] = {}


class NeedsSchemaCheckError(Exception):
    """This schema was not seen before: check it first, in another process. Even of a small one that
    may take 50 ms, for which a batch must not wait."""

    def __init__(self, schema: dict[str, Any]) -> None:
        super().__init__()
        self.schema = schema
        #: What counting the request has found.
        self.rate: Rate | None = None


def find_format(
    params: Object,
    request_params: Mapping[str, JsonValue],
    scene: Scene | None,
    version: SceneVersion | None,
) -> dict[str, Any] | None:
    """The `response_format` with a JSON Schema among a task's parameters; None where there is none.

    A scene's schema, which this puts among them, goes before its parameters and the model's, and a
    request's `response_format`, null as well, before that. Raises InvalidRequest, or
    NeedsSchemaCheckError.
    """
    if scene and version and version.output_schema and "response_format" not in request_params:
        # It was checked when it was written.
        of_version = of_scene(scene.slug, version.output_schema)
        params["response_format"] = of_version
        return of_version
    response_format = params.get("response_format")
    if not isinstance(response_format, dict) or not asks_for_schema(response_format):
        return None
    try:
        require_usable(OutputFormat(response_format).schema)
    except SchemaRefusedError as error:
        raise because(InvalidRequest, error.reason, field=FIELD) from None
    return response_format


def require_usable(schema: dict[str, Any]) -> None:
    """Raises SchemaRefusedError for a schema that is too large, and NeedsSchemaCheckError for one
    that was not checked in this process."""
    if _digest(schema) in _checked:
        return
    check_bounds(schema)
    raise NeedsSchemaCheckError(schema)


def note_usable(schema: dict[str, Any]) -> None:
    """Note that this schema was checked."""
    _checked[_digest(schema)] = None
    while len(_checked) > _MAX_CHECKED:
        # Another thread may have dropped it.
        _checked.pop(next(iter(_checked)), None)


def _digest(schema: dict[str, Any]) -> bytes:
    return hashlib.sha256(msgspec.json.encode(schema)).digest()
