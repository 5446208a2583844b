"""What a schema refuses as a Problem, in the words of JSON Schema's rules."""

from __future__ import annotations

from pydantic import ValidationError

from aily.problems import InvalidRequest
from aily.rest.schema_rules import rule_of
from chat.services.parameters import path_of


def invalid_request_of(error: ValidationError, within: str = "") -> InvalidRequest:
    """The first error, with the path of its field; `within`: the field that was checked."""
    first = error.errors(include_url=False, include_input=False)[0]
    path = path_of(first["loc"])
    field = ".".join(part for part in (within, path) if part) or None
    message = first["msg"].removeprefix("Value error, ")
    return InvalidRequest(message, field=field, params=rule_of(first))
