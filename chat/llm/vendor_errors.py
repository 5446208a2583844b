"""What a vendor's error stands for: by its numbers, its names and, in the end, its words.

Each vendor has a form of its own; `find_problem` knows one when it sees it, `error_from_event` and
`error_from_response` say which of our errors it is. A name that says more than the status wins
over it: an account in arrears is none that sends too fast, though both are refused with 429.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from chat.llm.errors import (
    AuthError,
    BadRequestError,
    BalanceError,
    ModelNotFoundError,
    OverloadedError,
    ProviderError,
    RateLimitError,
    WrongAddressError,
    redact,
)
from chat.llm.retry_after import retry_after_seconds

Kind = type[ProviderError]

#: Of the provider's words, before they are searched.
_MAX_WORDS_CHARS = 4000
_MAX_DEPTH = 3

_BY_STATUS: dict[int, Kind] = {
    401: AuthError,
    402: BalanceError,
    403: AuthError,
    404: ModelNotFoundError,
    405: WrongAddressError,
    408: ProviderError,
    409: ProviderError,
    423: ProviderError,
    425: ProviderError,
    429: RateLimitError,
    498: OverloadedError,  # Groq's: no capacity in its flex tier
    503: OverloadedError,
    529: OverloadedError,  # Anthropic's, Cloudflare's
}

# --- Numbers ------------------------------------------------------------------------------------
_MINIMAX: dict[int, Kind] = {
    **dict.fromkeys((1000, 1001, 1013, 1024, 1033), ProviderError),
    **dict.fromkeys((1002, 1039, 1041, 2045), RateLimitError),
    **dict.fromkeys((1004, 2049), AuthError),
    **dict.fromkeys((1008, 1028, 1030, 2056), BalanceError),
    **dict.fromkeys((1026, 1027, 1042, 1043, 2013), BadRequestError),
    2061: ModelNotFoundError,
}
_BAIDU: dict[int, Kind] = {
    **dict.fromkeys((1, 336000, 336100), ProviderError),
    2: OverloadedError,
    **dict.fromkeys((4, 18, 336501, 336502, 336503, 336504, 336505), RateLimitError),
    **dict.fromkeys((6, 13, 14, 15, 100, 110, 111, 336004), AuthError),
    **dict.fromkeys((17, 19), BalanceError),
    **dict.fromkeys(range(336001, 336004), BadRequestError),
    **dict.fromkeys(range(336005, 336008), BadRequestError),
    **dict.fromkeys((3, 336103, 336104, 336106, 336123, 336221), BadRequestError),
}
_ZHIPU: dict[int, Kind] = {
    **dict.fromkeys((*range(1000, 1005), 1110, 1111, 1112, 1120, 1220), AuthError),
    **dict.fromkeys((1113, 1304, 1308, 1309, 1310), BalanceError),
    **dict.fromkeys((*range(1212, 1216), 1210, 1261, 1301), BadRequestError),
    **dict.fromkeys((1211, 1221, 1222), ModelNotFoundError),
    **dict.fromkeys((1230, 1234, 1200), ProviderError),
    **dict.fromkeys((1302, 1303), RateLimitError),
    **dict.fromkeys((1305, 1312), OverloadedError),
}
_SILICONFLOW: dict[int, Kind] = {
    20012: ModelNotFoundError,
    20015: BadRequestError,
    30001: BalanceError,
    **dict.fromkeys((50505, 50603, 50604), OverloadedError),
}
_BY_NUMBER = {**_ZHIPU, **_SILICONFLOW}

# --- Names: an error's `code`, `type` and the like, as letters and digits ------------------------
# The first that matches counts: those that say most come first.
_BY_NAME: tuple[tuple[re.Pattern[str], Kind], ...] = tuple(
    (re.compile(pattern), kind)
    for pattern, kind in (
        (
            r"arrear|overdue|insufficient(account)?(balance|quota|funds|credit)|balanceisnotenough"
            r"|notenoughbalance|exceededcurrentquota|billing|paymentrequired|notpurchased"
            r"|quotaexhausted|creditsexhausted|budgetexceeded|^quotaexceeded$|setlimitexceeded|freetieronly",
            BalanceError,
        ),
        (
            r"contentfilter|contentpolicy|datainspection|sensitive|riskdetection|moderation"
            r"|contentblocked|flagged|responsibleai|invalidprompt|promptblocked|prohibitedcontent"
            r"|contextlength|contextwindow|contextsize|stringabovemax|requesttoolarge",
            BadRequestError,
        ),
        (
            r"ratelimit|toomanyrequest|throttl|limitrequests|limitburstrate|resourceexhausted"
            r"|requestlimit|inflightbatchsize|burstlimit|concurrencylimit|engineoverloadedrate",
            RateLimitError,
        ),
        (r"overload|serviceunavailable|capacityexceeded|serverbusy|enginebusy", OverloadedError),
        (
            r"model(id)?(not(found|exist|open|available|supported)|doesnotexist)|invalidmodel"
            r"|unknownmodel|unsupportedmodel|deploymentnotfound|invalidendpointormodel",
            ModelNotFoundError,
        ),
        (
            r"authenticat|unauthori[sz]|apikey|invalidtoken|iamtoken|permission|accessdenied"
            r"|forbidden|accountdeactivated|signaturedoesnotmatch",
            AuthError,
        ),
    )
)
# Servers put these on anything, so that words come before them.
_BY_GENERAL_NAME: tuple[tuple[re.Pattern[str], Kind], ...] = (
    (
        re.compile(
            r"^(invalid|bad)(request|parameter|argument|input)|validationerror|unprocessable"
            r"|badrequesterror|invalidparameter|unsupportedparameter|missingparameter"
        ),
        BadRequestError,
    ),
    (re.compile(r"^notfound"), WrongAddressError),
)

# --- Words --------------------------------------------------------------------------------------
# DeepSeek puts its reasons under the code invalid_request_error, so the words have to decide.
_BY_WORDS: tuple[tuple[re.Pattern[str], Kind], ...] = tuple(
    (re.compile(pattern), kind)
    for pattern, kind in (
        (
            r"insufficient (account )?(balance|credit|quota|fund)|balance is (insufficient|too low)"
            r"|credit balance|exceeded your current quota|out of credits|used all available credits"
            r"|requires more credits|in arrears|arrearage|overdue|余额不足|余额已用完|欠费|账户已用尽",
            BalanceError,
        ),
        (
            r"content exists risk|content management policy|content[ _]polic|inappropriate content"
            r"|content[ _]filter|was flagged|sensitive content|sensitive information|敏感|违规|不安全"
            r"|context (length|window|size)|prompt is too long|input is too long|超过最大长度|上下文",
            BadRequestError,
        ),
        (
            r"model[^\n]{0,160}(does ?n.t exist|does not exist|not exist|not found|is not supported)"
            r"|not found the model|invalid model|unknown model|no such model|not a valid model"
            r"|no endpoints found|unable to access model|deployment for this resource does not exist"
            r"|模型不存在|model: ",
            ModelNotFoundError,
        ),
        (
            r"(invalid|incorrect|wrong|missing|no)( or missing)? api[ _-]?key"
            r"|api[ _-]?key (is )?(not valid|invalid|expired|missing)|无效的令牌|无效的api",
            AuthError,
        ),
    )
)
# Of a 404 that is not about a model: what web servers and frameworks say of a path.
_WRONG_PATH = re.compile(
    r"\b(url|uri|path|route|page|file|handler|endpoint)\b|^\W*(http )?(404:? ?)?not ?found\W*$"
    r"|^\W*(404 )?(the )?(requested )?resource (was )?not found|^404 not found|cannot post|nginx"
)
# Of an error that has no status of its own.
_BY_MOOD: tuple[tuple[re.Pattern[str], Kind], ...] = (
    (re.compile(r"rate limit|too many requests|请求过于频繁|并发|请求过多"), RateLimitError),
    (re.compile(r"overloaded|server is busy|服务繁忙|访问量过大|no available"), OverloadedError),
)

# --- Pages -- bounded patterns, so that no page holds the event loop ---------------------------
_MAX_PAGE_CHARS = 16 * 1024
_LOOKS_LIKE_HTML = re.compile(r"<(!doctype|html|head|body|title|h1|p|center|div)\b", re.I)
_UNSEEN = re.compile(
    r"<(script|style)\b[^<>]{0,500}>.*?(</(script|style)\s{0,9}>|$)|<!--.*?(-->|$)", re.I | re.S
)
_TAG = re.compile(r"<[^<>]{0,500}(>|$)")

# --- What is an error ---------------------------------------------------------------------------
_GOOD = frozenset({"", "0", "200", "success", "ok", "none", "null"})
_MESSAGE_KEYS = (
    *("message", "msg", "error_msg", "errorMessage", "error_message", "errmsg", "status_msg"),
    *("detail", "error", "reason", "description", "title"),
)
_NAME_KEYS = ("code", "type", "error_code", "errorCode", "errcode", "status", "reason")


def find_problem(parsed: Any) -> Any:
    """The part of a response, or of an event, that tells of an error; None where none does."""
    if isinstance(parsed, list) and len(parsed) == 1:  # Gemini's
        parsed = parsed[0]
    if not isinstance(parsed, dict):
        return None
    has_answer = bool(parsed.get("choices"))
    error = parsed.get("error")
    if error or (isinstance(error, dict) and not has_answer):
        return _with_context(error, parsed)
    status = parsed.get("base_resp")
    if isinstance(status, dict) and not _is_good(status.get("status_code")):
        return status
    return None if has_answer or not _tells_of_error(parsed) else parsed


def _with_context(error: Any, parsed: dict[str, Any]) -> Any:
    """xAI gives the words as `error`, and the code beside them."""
    if isinstance(error, str | bool | int) and (parsed.get("message") or parsed.get("code")):
        words = error if isinstance(error, str) else ""
        return {**parsed, "message": parsed.get("message") or words}
    return error


def _tells_of_error(parsed: dict[str, Any]) -> bool:
    if parsed.get("object") == "error" or parsed.get("type") == "error":
        return True
    for key in ("error_code", "errorCode", "errcode", "error_msg", "errmsg"):
        if not _is_good(parsed.get(key)):
            return True
    message = parsed.get("message") or parsed.get("msg")
    if isinstance(message, str):
        return "code" not in parsed or not _is_good(parsed["code"])
    return bool(parsed.get("detail")) or bool(parsed.get("errors"))


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
        retry_after_seconds=retry_after_seconds(headers, is_throttled=status == 429),
    )


def plain_text(text: str) -> str:
    """What a page of HTML says, its tags, scripts and styles left out."""
    text = text[:_MAX_PAGE_CHARS].strip()
    if not (text.startswith("<") or _LOOKS_LIKE_HTML.search(text)):
        return text
    text = _TAG.sub(" ", _UNSEEN.sub(" ", text))
    return " ".join(html.unescape(text).split())


def _redirection(headers: Mapping[str, str], message: str) -> str:
    """Where to, without what may be a secret: a name, a password, a query."""
    location = headers.get("location", "").strip()
    location = re.sub(r"//[^/@]*@", "//", re.split(r"[?#]", location)[0])[:300]
    if not location:
        return message
    return f"the provider redirects to {location}: give that address as the base URL"


def _parsed(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return None


# --- Which error it is --------------------------------------------------------------------------
def _kind(detail: Any, message: str, status: int | None) -> Kind:
    lowered = message.lower()
    kind = _by_number(detail) or _by_name(detail, _BY_NAME)
    # What a server says of a failure of its own is not searched for the caller's faults.
    if kind is None and (status is None or status < 500):
        kind = _first(_BY_WORDS, lowered)
    if kind is None and status is None:
        kind = _first(_BY_MOOD, lowered) or _by_name(detail, _BY_GENERAL_NAME)
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
    if status == 404 and _WRONG_PATH.search(lowered):
        return WrongAddressError
    return _BY_STATUS.get(status) or (ProviderError if status >= 500 else BadRequestError)


def _by_number(detail: Any) -> Kind | None:
    if not isinstance(detail, dict):
        return None
    for key, kinds in (
        ("status_code", _MINIMAX),
        ("error_code", _BAIDU),
        ("code", _BY_NUMBER),
    ):
        number = _number(detail.get(key))
        if number is not None and number in kinds:
            return kinds[number]
    return None


def _by_name(detail: Any, kinds: tuple[tuple[re.Pattern[str], Kind], ...]) -> Kind | None:
    if not isinstance(detail, dict):
        return None
    names = [detail.get(key) for key in _NAME_KEYS]
    for name in names:
        if isinstance(name, str):
            letters = re.sub(r"[^a-z0-9]", "", name[:200].lower())
            if letters and (kind := _first(kinds, letters)):
                return kind
    return None


def _first(kinds: tuple[tuple[re.Pattern[str], Kind], ...], text: str) -> Kind | None:
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
