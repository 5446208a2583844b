"""What goes into a provider call and what comes out of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from chat.vectors import Vectors

#: A decoded JSON object.
JsonObject = dict[str, Any]

# DeepSeek isolates caches by `user_id`; strict OpenAI servers refuse that name and know `user`.
_USER_ID_PROVIDERS = frozenset({"deepseek", "simulator"})
# These know `max_tokens` alone, and ignore its newer name.
_MAX_TOKENS_PROVIDERS = frozenset({"deepseek"})
# These refuse, while they think, an assistant's message with tool calls that has no reasoning.
_REASONING_PROVIDERS = frozenset({"deepseek", "kimi", "moonshot", "simulator"})
# These refuse, while they think, a choice that forces a tool call.
_FREE_WHILE_THINKING_PROVIDERS = frozenset({"deepseek", "simulator"})
_RESERVED_FIELDS = frozenset({"model", "messages", "stream", "stream_options", "user", "user_id"})
_EMBEDDINGS_RESERVED_FIELDS = frozenset({"model", "encoding_format", "user", "user_id"})
#: DeepSeek takes letters, digits, _ and -.
_NO_USER_ID = re.compile("[^A-Za-z0-9_-]")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_SURROGATE_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")


def storable(text: str) -> str:
    """Text that PostgreSQL and UTF-8 can hold: U+FFFD replaces U+0000 and lone surrogates, and
    the two halves of a pair become the character that they encode."""
    if _is_storable(text):
        return text
    return _UNSTORABLE.sub("\ufffd", _SURROGATE_PAIR.sub(_character, text))


def _character(pair: re.Match[str]) -> str:
    return pair[0].encode("utf-16", "surrogatepass").decode("utf-16")


def _is_storable(text: str) -> bool:
    """Whether `text` needs no replacement: 100 times as fast as searching with the pattern."""
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
    """Whether an IP address may be connected to; None: any may."""
    problem: str = ""
    """Why it cannot be called, where it cannot."""

    def __repr__(self) -> str:
        key = "***" if self.api_key else None
        return f"Upstream(base_url={self.base_url!r}, api_key={key!r}, provider={self.provider!r})"

    @property
    def secrets(self) -> tuple[str, ...]:
        """API keys, credentials and header values: removed from errors that a provider sends."""
        proxy = self.proxy.credentials if self.proxy else ""
        keys = (self.api_key or "", *self.other_keys, proxy)
        values = (value for _, value in self.headers)
        return tuple(secret for secret in (*keys, *values) if secret)


class ChatRequest(msgspec.Struct, frozen=True):
    """One chat completion. `params` holds temperature, max_tokens, tools and the like."""

    model: str
    messages: list[JsonObject] | msgspec.Raw
    """Raw: as JSON already."""
    params: JsonObject = {}
    user_id: str | None = None
    traceparent: str = ""
    """The trace that the call belongs to, by the W3C's Trace Context; sent as a header."""

    @property
    def wants_logprobs(self) -> bool:
        return self.params.get("logprobs") is True

    def body(
        self, provider: str, request_fields: Iterable[tuple[str, str | None]] = ()
    ) -> JsonObject:
        """The JSON body to post. A parameter that is None counts as not given."""
        given = self.params.items()
        body: JsonObject = {
            **{k: v for k, v in given if v is not None and k not in _RESERVED_FIELDS},
            "model": self.model,
            "messages": self._messages(provider),
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if self.user_id:
            user = _user(self.user_id, self.params)
            body["user_id" if provider in _USER_ID_PROVIDERS else "user"] = user
        if provider in _MAX_TOKENS_PROVIDERS and "max_completion_tokens" in body:
            limit = body.pop("max_completion_tokens")
            body["max_tokens"] = min(limit, body.get("max_tokens", limit))
        if provider in _FREE_WHILE_THINKING_PROVIDERS and _forces_a_tool(body):
            body.setdefault("thinking", {"type": "disabled"})
        return _renamed(body, request_fields)

    def _messages(self, provider: str) -> list[JsonObject] | msgspec.Raw:
        """The messages, with an empty reasoning where the provider wants one beside tool calls.

        Most clients of OpenAI's API keep none.
        """
        messages = self.messages
        if provider not in _REASONING_PROVIDERS:
            return messages
        if isinstance(messages, msgspec.Raw):
            if b'"tool_calls"' not in bytes(messages):
                return messages
            messages = msgspec.json.decode(messages)
        return [
            {**message, "reasoning_content": message.get("reasoning_content") or ""}
            if message.get("tool_calls")
            else message
            for message in messages
        ]


class EmbeddingsRequest(msgspec.Struct, frozen=True):
    """One call for embeddings. `params` holds input, dimensions and the like."""

    model: str
    params: JsonObject
    user_id: str | None = None
    traceparent: str = ""

    def body(
        self, provider: str, request_fields: Iterable[tuple[str, str | None]] = ()
    ) -> JsonObject:
        """The JSON body to post. A parameter that is None counts as not given.

        Base64 is a fifth of the bytes of floats written as text, and of the time to read them.
        """
        given = self.params.items()
        body: JsonObject = {
            **{k: v for k, v in given if v is not None and k not in _EMBEDDINGS_RESERVED_FIELDS},
            "model": self.model,
            "encoding_format": "base64",
        }
        # Several providers refuse a user here, and none has a cache to isolate.
        if self.user_id and self.params.get("user"):
            body["user"] = _user(self.user_id, self.params)
        return _renamed(body, request_fields)


def _user(user_id: str, params: JsonObject) -> str:
    """The user for which a provider isolates its cache: our user, or one of that user's own."""
    theirs = params.get("user")
    return f"{user_id}-{_NO_USER_ID.sub('_', theirs)}" if theirs else user_id


def _renamed(body: JsonObject, request_fields: Iterable[tuple[str, str | None]]) -> JsonObject:
    """The body with fields renamed or left out, where the provider has other names or none."""
    for name, other in request_fields:
        if name in body:
            value = body.pop(name)
            if other is not None:
                # A value given under that name has precedence.
                body.setdefault(other, value)
    return body


def _forces_a_tool(body: JsonObject) -> bool:
    return body.get("tool_choice") not in (None, "none", "auto")


class TimeLimits(msgspec.Struct, frozen=True):
    """Deadlines of one call. A payload is text, reasoning, a tool call or a finish reason;
    headers, keep-alives and empty deltas are none, and so extend no deadline."""

    connect_seconds: float = 10
    first_token_seconds: float = 120
    """From the start of the call, connecting included, to the first payload."""
    between_tokens_seconds: float = 60
    total_seconds: float = 600


class AnswerLimits(msgspec.Struct, frozen=True):
    """How large one answer may be, in bytes of UTF-8. Text or reasoning that passes its limit is
    cut there, and the answer ends with the finish reason `length`. Arguments are of no use when
    cut: they end the call with an error, as too many tool calls do."""

    text_bytes: int = 4 * 1024 * 1024
    reasoning_bytes: int = 4 * 1024 * 1024
    arguments_bytes: int = 1024 * 1024
    """Of all tool calls of the answer together, their names and ids included."""
    tool_calls: int = 128
    logprobs_bytes: int = 8 * 1024 * 1024
    """Of log probabilities as JSON. They end the answer as its text does."""

    @property
    def event_bytes(self) -> int:
        """How large one event, or a whole response, may be."""
        return self.text_bytes + self.reasoning_bytes + self.arguments_bytes


class Delta(msgspec.Struct, frozen=True):
    """The payload of one network read: the pieces of every event in it, joined."""

    text: str
    reasoning: str
    logprobs: Sequence[msgspec.Raw] = ()
    """The log probabilities of its tokens as JSON, if they were asked for."""


class Usage(msgspec.Struct, frozen=True):
    """Token counts as the provider bills them; zeros when it gave none."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0


class ToolCall(msgspec.Struct, frozen=True, omit_defaults=True):
    """`arguments` is the model's own JSON text, not checked. `id` is never empty. To send a call
    back, wrap it: `{"id": id, "type": "function", "function": {"name": name, "arguments":
    arguments}}`."""

    id: str
    name: str
    arguments: str
    extra_content: JsonObject | None = None
    """What the provider wants back with the call, such as Gemini's signature."""


class Completion(msgspec.Struct, frozen=True):
    """The end of an answer. `finish_reason` is stop, length, tool_calls, content_filter or
    another word of the provider's; `request_id` is the response header to quote to its support."""

    finish_reason: str
    usage: Usage
    model: str
    upstream_id: str | None
    request_id: str | None
    tool_calls: tuple[ToolCall, ...] = ()
    is_refusal: bool = False
    """The model refused to answer: its text says so."""


class Embeddings(msgspec.Struct, frozen=True):
    """The answer to an EmbeddingsRequest."""

    vectors: Vectors
    usage: Usage
    request_id: str | None


class ReadDelay:
    """How long received bytes may wait before they are parsed: `seconds()` is called each time.

    The end of an answer waits for no more than a rest (chat/llm/transport/rests.py).
    """

    def __init__(self, seconds: Callable[[], float] = lambda: 0.0) -> None:
        self.seconds = seconds
        #: Set by the exchange while bytes wait: parses them.
        self.release: Callable[[], None] | None = None

    def cancel(self) -> None:
        """Parse what waits now."""
        if self.release is not None:
            self.release()
