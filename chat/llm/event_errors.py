"""Errors in the events of a response whose status says that all is well."""

from __future__ import annotations

from chat.llm import lenient
from chat.llm.errors import InvalidResponseError, ProviderError
from chat.llm.vendor_errors import error_from_event, find_error, says_error
from chat.llm.wire import Anything, WireChunk, has_value, value_of


def error_of_event(data: bytes, secret: str | None) -> ProviderError:
    """The error of an event with the name `error`, whatever its data."""
    try:
        parsed = lenient.parse(data)
    except InvalidResponseError:
        parsed = data.decode("utf-8", "replace")
    return error_from_event(find_error(parsed) or parsed, secret)


def check_chunk(chunk: WireChunk, secret: str | None) -> None:
    """Raises ProviderError if a field beside the choices says so."""
    check_field(chunk.error, secret)
    problem = find_error({"base_resp": value_of(chunk.base_resp)})
    if problem is not None:
        raise error_from_event(problem, secret)


def check_field(field: Anything, secret: str | None) -> None:
    """Raises ProviderError if a field `error` says something."""
    if has_value(field):
        error = value_of(field)
        # None: too large to be decoded.
        if error is None or says_error(error):
            raise error_from_event(error, secret)
