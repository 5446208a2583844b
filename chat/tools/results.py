"""Results of calls of tools, and the faults that end them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import msgspec

from chat.llm.errors import MIN_SECRET_CHARS
from chat.llm.types import storable

#: Characters of a fault's text, which may quote the server.
MAX_FAULT_CHARS = 500


class ToolErrorCode(StrEnum):
    """Why a call has no result of its tool. Public: part of a task's `tool_calls`."""

    #: The tool itself says that it failed.
    TOOL_ERROR = "tool_error"
    #: Disabled, vanished, or not to be called.
    UNAVAILABLE = "tool_unavailable"
    #: The arguments do not fit the tool's schema. Nothing was sent.
    INVALID_ARGUMENTS = "tool_invalid_arguments"
    #: No connection. Nothing was sent.
    UNREACHABLE = "tool_unreachable"
    #: The server's address is one that its calls may not go to. Nothing was sent.
    FORBIDDEN_ADDRESS = "tool_forbidden_address"
    #: The server refuses aily's credentials, or there are none.
    AUTH = "tool_auth"
    TIMEOUT = "tool_timeout"
    REDIRECT = "tool_redirect"
    TOO_LARGE = "tool_result_too_large"
    #: The connection broke before the answer was whole.
    TRUNCATED = "tool_truncated"
    #: The answer is not what the protocol asks for.
    INVALID_RESPONSE = "tool_invalid_response"
    #: The server takes no such call: it does not know the tool, or it refuses the arguments.
    REFUSED = "tool_refused"
    #: An HTTP status that means an error.
    HTTP_ERROR = "tool_http_error"
    #: The tool asks the user for input that aily cannot ask for.
    INPUT_REQUIRED = "tool_input_required"
    #: The structured result does not fit the tool's output schema.
    INVALID_RESULT = "tool_invalid_result"
    #: A fault in aily; see its log.
    INTERNAL = "tool_internal"


@dataclass(frozen=True, slots=True)
class AskedInput:
    """What a tool asks the user for, as a form: see chat/tools/forms.py. `state` is the server's,
    and goes back to it with the answer."""

    message: str
    schema: dict[str, Any]
    keys: list[str]
    fields: dict[str, tuple[str, str]]
    state: str | None


@dataclass(frozen=True, slots=True)
class Continuation:
    """What goes on with a call whose tool has asked the user: the answers by the server's keys."""

    responses: dict[str, dict[str, Any]]
    state: str | None


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a call came to. `text` is sent to the model; it is data, never an instruction.

    `bytes` is the size of the whole text, also where `text` was cut.
    """

    text: str
    #: Any JSON; None: there is none.
    structured: Any = None
    is_error: bool = False
    bytes: int = 0
    duration_seconds: float = 0.0
    #: A ToolErrorCode; empty of a success.
    code: str = ""
    #: The call goes on once this is answered; the code is INPUT_REQUIRED then.
    asked: AskedInput | None = None


class ToolFault(Exception):  # noqa: N818 - not an error of aily's
    """A call that came to nothing. The message is for the model, and short.

    `params`: what a text of it in another language needs, as a problem's.
    """

    def __init__(
        self, code: ToolErrorCode, message: str, params: Mapping[str, str | float] | None = None
    ) -> None:
        self.code = code
        self.message = storable(message)[:MAX_FAULT_CHARS]
        self.params = dict(params or {})
        super().__init__(self.message)

    def without(self, secrets: tuple[str, ...]) -> ToolFault:
        """The fault without secrets that the server may have repeated."""
        return ToolFault(self.code, _redacted(self.message, secrets), self.params)

    def as_result(self) -> ToolResult:
        size = len(self.message.encode())
        return ToolResult(self.message, is_error=True, bytes=size, code=self.code)


def without_secrets(result: ToolResult, secrets: tuple[str, ...]) -> ToolResult:
    """The result without secrets that the server has repeated, as one that echoes headers does.
    Raises ToolFault for a form that has one: its answer could not be sent to the server."""
    if result.asked is not None:
        form = msgspec.json.encode([result.asked.message, result.asked.schema]).decode()
        if _redacted(form, secrets) != form:
            message = "The tool asks its user for input, but its question has a secret of aily's."
            raise ToolFault(ToolErrorCode.INPUT_REQUIRED, message)
    structured = result.structured
    if structured is not None:
        encoded = msgspec.json.encode(structured).decode()
        redacted = _redacted(encoded, secrets)
        structured = msgspec.json.decode(redacted) if redacted != encoded else structured
    return replace(result, text=_redacted(result.text, secrets), structured=structured)


def _redacted(text: str, secrets: tuple[str, ...]) -> str:
    """The text without these secrets, as they are and as they are within JSON."""
    for secret in secrets:
        if len(secret) >= MIN_SECRET_CHARS:
            for form in {secret, msgspec.json.encode(secret).decode()[1:-1]}:
                text = text.replace(form, "***")
    return text


class NoSlotError(Exception):
    """All slots of the tool's server are in use: ask again later."""

    def __init__(self, server: str, retry_after_seconds: float) -> None:
        super().__init__(f"{server}: all slots are in use")
        self.retry_after_seconds = retry_after_seconds


def bounded(result: ToolResult, max_bytes: int) -> ToolResult:
    """The result with its text within `max_bytes`, cut at a character, with a note."""
    text = storable(result.text)
    encoded = text.encode()
    structured = result.structured if _is_keepable(result.structured, max_bytes) else None
    result = replace(result, text=text, structured=structured, bytes=len(encoded))
    if len(encoded) <= max_bytes:
        return result
    kept = encoded[:max_bytes].decode(errors="ignore")
    note = f"\n[cut: the first {max_bytes} of {len(encoded)} bytes]"
    # A structured result that was not shown whole is not to be read as if it were.
    return replace(result, text=kept + note, structured=None)


def _is_keepable(structured: Any, max_bytes: int) -> bool:
    """Whether the database takes it, and its size is that of a result."""
    encoded = msgspec.json.encode(structured)
    return len(encoded) <= max_bytes and b"\\u0000" not in encoded
