"""What goes into a provider call and what comes out of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

# DeepSeek isolates caches by `user_id`; strict OpenAI servers refuse that name and know `user`.
_USER_ID_PROVIDERS = frozenset({"deepseek", "simulator"})
_RESERVED_FIELDS = frozenset({"model", "messages", "stream", "stream_options", "user", "user_id"})
#: DeepSeek takes letters, digits, _ and -.
_NO_USER_ID = re.compile("[^A-Za-z0-9_-]")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def storable(text: str) -> str:
    """Text that PostgreSQL and UTF-8 can hold: U+FFFD stands for U+0000 and lone surrogates."""
    return text if _is_storable(text) else _UNSTORABLE.sub("\ufffd", text)


def _is_storable(text: str) -> bool:
    """A hundred times as fast as the pattern, which looks at each character."""
    if "\0" in text:
        return False
    try:
        text.isascii() or text.encode()
    except UnicodeEncodeError:
        return False
    return True


class Proxy(msgspec.Struct, frozen=True):
    """An HTTP proxy: `credentials` are `user:password`, or nothing."""

    url: str
    credentials: str = ""

    def __repr__(self) -> str:
        return f"Proxy(url={self.url!r})"


class Upstream(msgspec.Struct, frozen=True):
    """Where a call goes, and how it is written. Hashable: it is a key of caches.

    `base_url` is everything before `/chat/completions`, and a query that comes after it.
    """

    base_url: str
    api_key: str | None
    provider: str
    other_keys: tuple[str, ...] = ()
    """Calls take turns between them and `api_key`."""
    key_header: str = ""
    """The key is sent in it as it is. Empty: as a bearer token."""
    headers: tuple[tuple[str, str], ...] = ()
    request_fields: tuple[tuple[str, str | None], ...] = ()
    """Fields of the body to send by another name, None: to leave out."""
    limits: tuple[tuple[str, float], ...] = ()
    """Fields of TimeLimits that are this provider's own."""
    proxy: Proxy | None = None
    ca_bundle: str = ""
    """Certificate authorities in PEM; empty: the system's."""
    may_reach: Callable[[str], bool] | None = None
    """Judges each IP address before it is connected to; None: any will do."""
    problem: str = ""
    """Why it cannot be called, where it cannot."""

    def __repr__(self) -> str:
        key = "***" if self.api_key else None
        return f"Upstream(base_url={self.base_url!r}, api_key={key!r}, provider={self.provider!r})"

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must not be told to anybody, should the provider repeat it."""
        proxy = self.proxy.credentials if self.proxy else ""
        keys = (self.api_key or "", *self.other_keys, proxy)
        return tuple(one for one in (*keys, *(value for _, value in self.headers)) if one)


class ChatRequest(msgspec.Struct, frozen=True):
    """One chat completion. `params` holds temperature, max_tokens, tools and the like."""

    model: str
    messages: list[dict[str, Any]] | msgspec.Raw
    """Raw: as JSON already."""
    params: dict[str, Any] = {}
    user_id: str | None = None
    traceparent: str = ""
    """The trace that the call belongs to, by the W3C's Trace Context; sent as a header."""

    def body(
        self, provider: str, request_fields: Iterable[tuple[str, str | None]] = ()
    ) -> dict[str, Any]:
        """The JSON body to post. A parameter that is None counts as not given."""
        given = self.params.items()
        body: dict[str, Any] = {
            **{k: v for k, v in given if v is not None and k not in _RESERVED_FIELDS},
            "model": self.model,
            "messages": self.messages,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if self.user_id:
            body["user_id" if provider in _USER_ID_PROVIDERS else "user"] = self._user()
        for name, other in request_fields:
            if name in body:
                value = body.pop(name)
                if other is not None:
                    # What was given by that name stands.
                    body.setdefault(other, value)
        return body

    def _user(self) -> str | None:
        """Whom a provider keeps apart from others: ours, or one of theirs."""
        theirs = self.params.get("user")
        return f"{self.user_id}-{_NO_USER_ID.sub('_', theirs)}" if theirs else self.user_id


class TimeLimits(msgspec.Struct, frozen=True):
    """Deadlines of one call. A payload is text, reasoning, a tool call or a finish reason;
    headers, keep-alives and empty deltas are none, and so extend no deadline."""

    connect_seconds: float = 10
    first_token_seconds: float = 120
    """From the start of the call, connecting included, to the first payload."""
    between_tokens_seconds: float = 60
    total_seconds: float = 600


class Delta(msgspec.Struct, frozen=True):
    """The payload of one network read: the pieces of every event in it, joined."""

    text: str
    reasoning: str


class Usage(msgspec.Struct, frozen=True):
    """Token counts as the provider bills them; zeros when it gave none."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0


class ToolCall(msgspec.Struct, frozen=True):
    """`arguments` is the model's own JSON text, not checked."""

    id: str
    name: str
    arguments: str


class Completion(msgspec.Struct, frozen=True):
    """The end of an answer. `finish_reason` is stop, length, tool_calls, content_filter or
    another word of the provider's; `request_id` is the response header to quote to its support."""

    finish_reason: str
    usage: Usage
    model: str
    upstream_id: str | None
    request_id: str | None
    tool_calls: tuple[ToolCall, ...] = ()


class Patience:
    """How long what has come of an answer may wait to be looked at, in seconds as `seconds` says
    each time. The end of an answer never waits."""

    def __init__(self, seconds: Callable[[], float] = lambda: 0.0) -> None:
        self.seconds = seconds
        #: Set by whoever lets something wait: looks at it.
        self.release: Callable[[], None] | None = None

    def lose(self) -> None:
        """Look at what waits now."""
        if self.release is not None:
            self.release()
