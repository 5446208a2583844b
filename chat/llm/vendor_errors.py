"""What a vendor's error stands for: by its numbers, its names and, in the end, its words.

Each vendor has a form of its own; `find_problem` knows one when it sees it, `error_from_event` and
`error_from_response` say which of our errors it is. A name that says more than the status wins
over it: an account in arrears is none that sends too fast, though both are refused with 429.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from chat.llm.errors import (
    BadRequestError,
    BalanceError,
    ProviderError,
    RateLimitError,
    WrongAddressError,
    redact,
)
from chat.llm.pages import in_utf8, plain_text
from chat.llm.retry_after import retry_after_seconds
from chat.llm.vendor_codes import (
    BAIDU,
    BY_GENERAL_NAME,
    BY_MOOD,
    BY_NAME,
    BY_NUMBER,
    BY_STATUS,
    BY_WORDS,
    MINIMAX,
    WRONG_PATH,
    Kind,
    Patterns,
)

#: Of the provider's words, before they are searched.
_MAX_WORDS_CHARS = 4000
_MAX_DEPTH = 3
_EVENT_DATA = re.compile(rb"^data:[ ]?(.*)$", re.MULTILINE)

# --- What is an error ---------------------------------------------------------------------------
_GOOD = frozenset({"", "0", "200", "success", "ok", "none", "null"})
# Keys are in lower case: some vendors write them otherwise.
_MESSAGE_KEYS = (
    *("message", "msg", "error_msg", "errormsg", "errormessage", "error_message", "errmsg"),
    *("status_msg", "detail", "error", "reason", "description", "title"),
)
_NAME_KEYS = ("code", "type", "error_code", "errorcode", "errcode", "status", "reason")
_ERROR_KEYS = (
    *("error_code", "errorcode", "errcode"),
    *("error_msg", "errormsg", "errmsg", "error_message", "errormessage"),
)


def find_problem(parsed: Any, *, is_inner: bool = False) -> Any:
    """The part of a response, or of an event, that tells of an error; None where none does."""
    if isinstance(parsed, list) and len(parsed) == 1:  # Gemini's
        parsed = parsed[0]
    if not isinstance(parsed, dict):
        return None
    has_answer = bool(parsed.get("choices"))
    fields = _with_plain_keys(parsed)
    error = fields.get("error")
    if error or (isinstance(error, dict) and not has_answer):
        return _with_context(error, fields)
    status = fields.get("base_resp")
    if isinstance(status, dict) and not _is_good(status.get("status_code")):
        return status
    if has_answer:
        return None
    if isinstance(fields.get("response"), dict) and not is_inner:  # Tencent's
        return find_problem(fields["response"], is_inner=True)
    return fields if _tells_of_error(fields) else None


def _with_plain_keys(detail: dict[str, Any]) -> dict[str, Any]:
    return {key.lower(): value for key, value in detail.items()}


def _with_context(error: Any, fields: dict[str, Any]) -> Any:
    """xAI gives the words as `error`, and the code beside them."""
    if isinstance(error, dict):
        return _with_plain_keys(error)
    if isinstance(error, str | bool | int) and (fields.get("message") or fields.get("code")):
        words = error if isinstance(error, str) else ""
        return {**fields, "message": fields.get("message") or words}
    return error


def _tells_of_error(fields: dict[str, Any]) -> bool:
    if fields.get("object") == "error" or fields.get("type") == "error":
        return True
    if any(not _is_good(fields.get(key)) for key in _ERROR_KEYS):
        return True
    message = fields.get("message") or fields.get("msg")
    if isinstance(message, str):
        return "code" not in fields or not _is_good(fields["code"])
    return bool(fields.get("detail")) or bool(fields.get("errors"))


def _is_good(code: Any) -> bool:
    return code is None or str(code).lower() in _GOOD


def error_from_event(detail: Any, secret: str | None) -> ProviderError:
    """The error that is told of in an otherwise good response."""
    message = _words(detail)
    status = _status_of(detail)
    kind = _kind(detail, message, status)
    return kind(redact(message, secret) or "the provider broke off", status=status)


def error_from_response(
    status: int, headers: Mapping[str, str], body: bytes, secret: str | None
) -> ProviderError:
    """The error that a response with a status other than 2xx stands for.

    `body` may be cut short. `secret` (the API key) is taken out of the provider's words.
    """
    body = in_utf8(body, headers.get("content-type", ""))
    parsed = _parsed(body)
    problem = find_problem(parsed)
    detail = parsed if problem is None else problem
    text = body.decode("utf-8", "replace") if parsed is None else ""
    message = _words(detail) or plain_text(text)
    kind = _kind(detail, message, status)
    if 300 <= status < 400:
        kind, message = WrongAddressError, _redirection(headers, message)
    return kind(
        redact(message, secret) or f"HTTP status {status} without a message",
        status=status,
        retry_after_seconds=retry_after_seconds(
            headers, is_throttled=issubclass(kind, RateLimitError)
        ),
    )


def _redirection(headers: Mapping[str, str], message: str) -> str:
    """Where to, without what may be a secret: a name, a password, a query."""
    location = headers.get("location", "").strip()
    location = re.sub(r"//[^/@]*@", "//", re.split(r"[?#]", location)[0])[:300]
    if not location:
        return message
    return f"the provider redirects to {location}: give that address as the base URL"


def _parsed(body: bytes) -> Any:
    """JSON, also where an error of a stream keeps the form of an event."""
    event = _EVENT_DATA.search(body)
    data = event[1] if event else body
    try:
        return msgspec.json.decode(data)
    except (ValueError, RecursionError):
        pass
    try:
        return json.loads(data.decode("utf-8", "replace"), strict=False)
    except (ValueError, RecursionError):
        return None


# --- Which error it is --------------------------------------------------------------------------
def _kind(detail: Any, message: str, status: int | None) -> Kind:
    lowered = message.lower()
    kind = _by_number(detail) or _by_name(detail, BY_NAME)
    # What a server says of a failure of its own is not searched for the caller's faults.
    if kind is None and (status is None or status < 500):
        kind = _first(BY_WORDS, lowered)
    if kind is None and status is None:
        kind = _first(BY_MOOD, lowered) or _by_name(detail, BY_GENERAL_NAME)
    if status is None:
        return kind or ProviderError
    return _with_status(kind, status, lowered)


def _with_status(kind: Kind | None, status: int, lowered: str) -> Kind:
    if kind is None:
        return _by_status(status, lowered)
    if status == 429 and kind is not BalanceError:
        return RateLimitError
    if status in (401, 402) and kind is not BalanceError:
        return _by_status(status, lowered)
    return kind


def _by_status(status: int, lowered: str) -> Kind:
    if status == 404 and WRONG_PATH.search(lowered):
        return WrongAddressError
    return BY_STATUS.get(status) or (ProviderError if status >= 500 else BadRequestError)


def _by_number(detail: Any) -> Kind | None:
    if not isinstance(detail, dict):
        return None
    for key, kinds in (
        ("status_code", MINIMAX),
        ("error_code", BAIDU),
        ("code", BY_NUMBER),
    ):
        number = _number(detail.get(key))
        if number is not None and number in kinds:
            return kinds[number]
    return None


def _by_name(detail: Any, kinds: Patterns) -> Kind | None:
    if not isinstance(detail, dict):
        return None
    names = [detail.get(key) for key in _NAME_KEYS]
    for name in names:
        if isinstance(name, str):
            letters = re.sub(r"[^a-z0-9]", "", name[:200].lower())
            if letters and (kind := _first(kinds, letters)):
                return kind
    return None


def _first(kinds: Patterns, text: str) -> Kind | None:
    return next((kind for pattern, kind in kinds if pattern.search(text)), None)


def _status_of(detail: Any) -> int | None:
    if not isinstance(detail, dict):
        return None
    for key in ("code", "status_code", "status", "http_code"):
        number = _number(detail.get(key))
        if number is not None and 400 <= number < 600:
            return number
    return None


def _number(value: Any) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


# --- What it says -------------------------------------------------------------------------------
def _words(detail: Any, depth: int = 0) -> str:
    """The vendor's message, wherever it is; its code, if there is none."""
    if isinstance(detail, str):
        return plain_text(detail)[:_MAX_WORDS_CHARS]
    if depth >= _MAX_DEPTH:
        return ""
    if isinstance(detail, list):
        return "; ".join(filter(None, (_words(part, depth + 1) for part in detail[:5])))
    if not isinstance(detail, dict):
        return ""
    detail = _with_plain_keys(detail)
    found = next(
        (words for key in _MESSAGE_KEYS if (words := _words(detail.get(key), depth + 1))), ""
    )
    found = found or _words(detail.get("errors"), depth + 1)
    return (found + _raw_words(detail, depth)) or _names(detail)


def _raw_words(detail: dict[str, Any], depth: int) -> str:
    """OpenRouter's words are its own; those of the provider behind it are beside them."""
    metadata = detail.get("metadata")
    raw = _words(metadata.get("raw"), depth + 1) if isinstance(metadata, dict) else ""
    return f": {raw}" if raw else ""


def _names(detail: dict[str, Any]) -> str:
    names = (detail.get(key) for key in ("code", "type", "error_code", "status_code", "status"))
    return next((str(name) for name in names if isinstance(name, str | int) and name), "")
