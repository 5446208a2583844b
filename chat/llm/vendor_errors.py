"""Maps a vendor's error to one of ours: by its numbers, its names and, last, its message.

Each vendor has a form of its own; `find_problem` knows one when it sees it, `error_from_event` and
`error_from_response` say which of our errors it is. A name that says more than the status wins
over it: an account in arrears is none that sends too fast, though both are refused with 429.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

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
from chat.llm.retry_hints import hinted_seconds
from chat.llm.vendor_codes import (
    BAIDU,
    BY_GENERAL_NAME,
    BY_MESSAGE,
    BY_NAME,
    BY_NUMBER,
    BY_STATUS,
    MINIMAX,
    TOO_LARGE,
    WITHOUT_STATUS,
    WRONG_PATH,
    Kind,
    Patterns,
)

#: The part of a provider's message that is searched.
_MAX_MESSAGE_CHARS = 4000
_MAX_QUOTED_CHARS = 200
_MAX_DEPTH = 5
#: The message in a JSON body of which only the beginning was read.
_CUT_MESSAGE = re.compile(
    r'"(?:message|msg|error_msg|detail|error)"\s{0,9}:\s{0,9}"((?:[^"\\]|\\.){1,2000})'
)
_EVENT_DATA = re.compile(rb"^data:[ ]?(.*)$", re.MULTILINE)

# --- What is an error ---------------------------------------------------------------------------
_GOOD = frozenset({"", "0", "200", "success", "ok", "none", "null", "false"})
# Keys are in lower case: some vendors write them otherwise.
_MESSAGE_KEYS = (
    *("message", "msg", "err", "error_msg", "errormsg", "errormessage", "error_message", "errmsg"),
    *("status_msg", "detail", "error", "fault", "faultstring", "exception", "reason"),
    *("retmsg", "ret_msg", "err_msg", "description", "title", "text", "info"),
)
_NAME_KEYS = (
    *("code", "type", "error_code", "errorcode", "errcode", "error_type", "status", "reason"),
)
#: What may hold the error itself, or a list of errors.
_INNER_KEYS = ("errors", "error", "errormsg", "message", "detail", "fault")
_STATUS_KEYS = (*("code", "status_code", "statuscode", "status", "http_code", "http_status_code"),)
_ERROR_KEYS = (
    *("error_code", "errorcode", "errcode"),
    *("error_msg", "errormsg", "errmsg", "error_message", "errormessage"),
    *("retmsg", "ret_msg", "err_msg"),
)
#: Values by which a response says that it is none.
_FAILED = frozenset({"error", "fail", "failed", "failure"})


def find_error(parsed: object, *, is_inner: bool = False) -> object:
    """Return the part of a response or event that describes an error, None if there is none."""
    if isinstance(parsed, list) and len(parsed) == 1:  # Gemini's
        parsed = parsed[0]
    if not isinstance(parsed, dict):
        return None
    has_answer = bool(parsed.get("choices"))
    fields = _with_plain_keys(parsed)
    error = fields.get("error")
    if says_error(error) or (isinstance(error, dict) and not has_answer):
        return _with_context(error, fields)
    status = fields.get("base_resp")
    if isinstance(status, dict) and not _is_good(status.get("status_code")):
        return status
    return None if has_answer else _error_body(fields, is_inner=is_inner)


def _error_body(fields: dict[str, object], *, is_inner: bool) -> object:
    """An error of a body without `error` and without choices."""
    for holder in ("response", "header"):  # Tencent's, Spark's
        inner = fields.get(holder)
        if isinstance(inner, dict) and not is_inner:
            return find_error(inner, is_inner=True)
    return fields if _is_error_body(fields) else _blocked_prompt(fields)


def _blocked_prompt(fields: dict[str, object]) -> object:
    feedback = fields.get("promptfeedback")  # Gemini's
    reason = feedback.get("blockReason") if isinstance(feedback, dict) else None
    if not reason:
        return None
    return {"code": "content_filter", "message": f"the prompt was blocked: {reason}"}


def says_error(error: object, depth: int = 0) -> bool:
    """Whether a field `error` says something: some servers send it with each answer, empty."""
    if isinstance(error, dict):
        error = list(error.values())
    if isinstance(error, list) and depth < _MAX_DEPTH:
        return any(says_error(value, depth + 1) for value in error)
    return not _is_good(error)


def _with_plain_keys(detail: dict[str, object]) -> dict[str, object]:
    return {key.lower(): value for key, value in detail.items()}


def _with_context(error: object, fields: dict[str, object]) -> object:
    """Merge fields beside `error` into it: xAI's `error` is the message, its code stands beside."""
    if isinstance(error, dict):
        return _with_plain_keys(error)
    is_named = any(fields.get(key) for key in ("message", *_NAME_KEYS))
    if isinstance(error, str | bool | int) and is_named:
        message = fields.get("message") or (error if isinstance(error, str) else "")
        return {**fields, "message": message}
    return error


def _is_error_body(fields: dict[str, object]) -> bool:
    if fields.get("object") == "error" or fields.get("type") == "error":
        return True
    if any(not _is_good(fields.get(key)) for key in _ERROR_KEYS):
        return True
    message = fields.get("message") or fields.get("msg")
    if isinstance(message, str):
        return "code" not in fields or not _is_good(fields["code"])
    if any(fields.get(key) for key in ("detail", "errors", "fault", "exception")):
        return True
    return _says_failed(fields)


def _says_failed(fields: dict[str, object]) -> bool:
    if any(fields.get(key) is False for key in ("success", "ok")):
        return True
    return any(str(fields.get(key)).lower() in _FAILED for key in ("status", "state", "result"))


def _is_good(code: object) -> bool:
    return code is None or str(code).lower() in _GOOD


def error_from_event(detail: object, secret: str | None) -> ProviderError:
    """Build the error that an event of a 2xx response describes."""
    message = _message(detail)
    status = _status_of(detail)
    kind = _kind(detail, message, status)
    is_throttled = issubclass(kind, RateLimitError)
    return kind(
        redact(message or _broke_off(detail), secret),
        status=status,
        retry_after_seconds=hinted_seconds(detail, message) if is_throttled else None,
    )


def _broke_off(detail: object) -> str:
    """What to say of an error without words of its own."""
    quoted = json.dumps(detail, ensure_ascii=False)[:_MAX_QUOTED_CHARS] if detail else ""
    return f"the provider broke off: {quoted}" if quoted else "the provider broke off"


def error_from_response(
    status: int, headers: Mapping[str, str], body: bytes, secret: str | None
) -> ProviderError:
    """Build the error for a response with a status other than 2xx.

    `body` may be cut short. `secret` (the API key) is removed from the provider's message.
    """
    body = in_utf8(body, headers.get("content-type", ""))
    parsed = _parsed(body)
    problem = find_error(parsed)
    detail = parsed if problem is None else problem
    text = body.decode("utf-8", "replace") if parsed is None else ""
    message = _message(detail) or _cut_message(text) or plain_text(text)
    kind = _kind(detail, message, status)
    if 300 <= status < 400:
        kind, message = WrongAddressError, _redirection(headers, message)
    is_throttled = issubclass(kind, RateLimitError)
    seconds = retry_after_seconds(headers, is_throttled=is_throttled)
    if seconds is None and is_throttled:
        seconds = hinted_seconds(detail, message)
    return kind(
        redact(message, secret) or f"HTTP status {status} without a message",
        status=status,
        retry_after_seconds=seconds,
    )


def _redirection(headers: Mapping[str, str], message: str) -> str:
    """Say where a redirect leads, without what may be secret: user name, password, query."""
    location = headers.get("location", "").strip()
    location = re.sub(r"//[^/@]*@", "//", re.split(r"[?#]", location)[0])[:300]
    if not location:
        return message
    return f"the provider redirects to {location}: give that address as the base URL"


def _parsed(body: bytes) -> object:
    """Decode a JSON body. An error of a streaming endpoint may come as a server-sent event."""
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
def _kind(detail: object, message: str, status: int | None) -> Kind:
    lowered = message.lower()
    if TOO_LARGE.search(lowered):
        return BadRequestError
    kind = _by_number(detail) or _by_name(detail, BY_NAME)
    # A 5xx is the server's failure: its message is not searched for faults of the request.
    if kind is None and (status is None or status < 500):
        kind = _first(BY_MESSAGE, lowered)
    kind = kind or _by_name(detail, BY_NAME, is_sentence=True)
    if kind is None and status is None:
        kind = _first(WITHOUT_STATUS, lowered) or _by_name(detail, BY_GENERAL_NAME)
    if status is None:
        return kind or ProviderError
    return _with_status(kind, status, lowered)


def _with_status(kind: Kind | None, status: int, lowered: str) -> Kind:
    if kind is None:
        return _by_status(status, lowered)
    if status == 429 and kind is not BalanceError:
        return RateLimitError
    if status == 413 and issubclass(kind, RateLimitError):
        return BadRequestError
    if status in (401, 402) and kind is not BalanceError:
        return _by_status(status, lowered)
    return kind


def _by_status(status: int, lowered: str) -> Kind:
    if status == 404 and WRONG_PATH.search(lowered):
        return WrongAddressError
    return BY_STATUS.get(status) or (ProviderError if status >= 500 else BadRequestError)


def _by_number(detail: object) -> Kind | None:
    for part in _named_parts(detail):
        for key, kinds in (
            ("status_code", MINIMAX),
            ("error_code", BAIDU),
            ("code", BY_NUMBER),
        ):
            number = _number(part.get(key))
            if number is not None and number in kinds:
                return kinds[number]
    return None


def _by_name(detail: object, kinds: Patterns, *, is_sentence: bool = False) -> Kind | None:
    """A name that is a sentence, as xAI's codes are, is more general than the message."""
    names = [part.get(key) for part in _named_parts(detail) for key in _NAME_KEYS]
    for name in names:
        if isinstance(name, str) and (" " in name.strip()) is is_sentence:
            letters = re.sub(r"[^a-z0-9]", "", name[:200].lower())
            if letters and (kind := _first(kinds, letters)):
                return kind
    return None


def _first(kinds: Patterns, text: str) -> Kind | None:
    return next((kind for pattern, kind in kinds if pattern.search(text)), None)


def _status_of(detail: object) -> int | None:
    for part in _named_parts(detail):
        for key in _STATUS_KEYS:
            number = _number(part.get(key))
            if number is not None and 400 <= number < 600:
                return number
    return None


def _named_parts(detail: object) -> list[dict[str, object]]:
    """The object itself and, of what holds errors in a list or under another key, the first."""
    parts: list[dict[str, object]] = []
    holders: list[object] = [detail]
    if isinstance(detail, dict):
        parts.append(detail)
        holders = [detail.get(key) for key in _INNER_KEYS]
    for holder in holders:
        if isinstance(holder, list) and holder:
            holder = holder[0]
        embedded = _embedded(holder)
        inner = holder if embedded is None else embedded
        if isinstance(inner, dict):
            parts.append(_with_plain_keys(inner))
        if embedded is not None and isinstance(error := embedded.get("error"), dict):
            parts.append(_with_plain_keys(error))
    return parts


def _embedded(text: object) -> dict[str, object] | None:
    """The object that a message holds as JSON: gateways pass on so what their upstream said."""
    if not isinstance(text, str) or len(text) > _MAX_MESSAGE_CHARS or "{" not in text:
        return None
    try:
        found = json.loads(text[text.index("{") :], strict=False)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _number(value: object) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


# --- What it says -------------------------------------------------------------------------------
def _message(detail: object, depth: int = 0) -> str:
    """Find the vendor's message; its code if there is none."""
    if isinstance(detail, str):
        return _message_within(detail, depth) or plain_text(detail)[:_MAX_MESSAGE_CHARS]
    if depth >= _MAX_DEPTH:
        return ""
    if isinstance(detail, list):
        return "; ".join(filter(None, (_message(part, depth + 1) for part in detail[:5])))
    if not isinstance(detail, dict):
        return ""
    detail = _with_plain_keys(detail)
    found = next(
        (text for key in _MESSAGE_KEYS if (text := _message(detail.get(key), depth + 1))), ""
    )
    found = found or _message(detail.get("errors"), depth + 1)
    return (found + _upstream_message(detail, depth)) or _names(detail)


def _message_within(text: str, depth: int) -> str:
    """The message of the error that a text consists of, as JSON; "" where it is anything else."""
    is_object = depth < _MAX_DEPTH and text.lstrip().startswith("{")
    inner = _embedded(text) if is_object else None
    return _message(inner, depth + 1) if inner else ""


def _cut_message(text: str) -> str:
    found = _CUT_MESSAGE.search(text) if text.lstrip().startswith("{") else None
    if found is None:
        return ""
    try:
        return str(json.loads(f'"{found[1]}"', strict=False))
    except ValueError:
        return found[1]


def _upstream_message(detail: dict[str, object], depth: int) -> str:
    """OpenRouter puts the message of the provider behind it into `metadata.raw`."""
    metadata = detail.get("metadata")
    raw = _message(metadata.get("raw"), depth + 1) if isinstance(metadata, dict) else ""
    return f": {raw}" if raw else ""


def _names(detail: dict[str, object]) -> str:
    given = [detail.get(key) for key in ("code", "type", "error_code", "status_code", "status")]
    names = [str(name) for name in given if isinstance(name, str | int) and name]
    # A word says more than a number.
    return next((name for name in names if not name.isdigit()), names[0] if names else "")
