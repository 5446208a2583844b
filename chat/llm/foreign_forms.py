"""Recognises answers in the form of another API than OpenAI's chat completions.

A base URL that leads to a vendor's own API gives them. The error names the API; they are not read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from chat.llm.errors import ForeignFormError, InvalidResponseError, ProviderError, redact
from chat.llm.lenient import MAX_QUOTED_CHARS, unwrapped

Fields = Mapping[str, object]

_ANTHROPIC = ("message_", "content_block_")
_COHERE = ("message-", "content-", "tool-plan-", "tool-call-")


def _type(fields: Fields) -> str:
    return str(fields.get("type") or "")


def _has(value: object, *names: str) -> bool:
    """Whether a value is an object that has one of these fields."""
    return isinstance(value, dict) and any(name in value for name in names)


#: What each vendor's own API is called, and how its answers are recognised. The first match counts.
_FORMS: tuple[tuple[str, Callable[[Fields], bool]], ...] = (
    ("Gemini's generateContent", lambda fields: "candidates" in fields),
    (
        "Anthropic's Messages API",
        lambda fields: (
            _type(fields).startswith(_ANTHROPIC)
            or (_type(fields) == "message" and "stop_reason" in fields)
        ),
    ),
    (
        "OpenAI's Responses API",
        lambda fields: fields.get("object") == "response" or _type(fields).startswith("response."),
    ),
    ("Cohere's own API", lambda fields: _type(fields).startswith(_COHERE)),
    ("Ollama's own API", lambda fields: "done" in fields and _has(fields, "message", "response")),
    (
        "Cohere's own API",
        lambda fields: "finish_reason" in fields and _has(fields, "message", "text"),
    ),
    (
        "Bedrock's Converse API",
        lambda fields: "stopReason" in fields or _has(fields.get("output"), "message"),
    ),
    ("DashScope's own API", lambda fields: _has(fields.get("output"), "choices", "text")),
    (
        "Cloudflare's own API",
        lambda fields: "response" in fields or _has(fields.get("result"), "response", "tool_calls"),
    ),
    ("Baidu's own API", lambda fields: isinstance(fields.get("result"), str)),
    ("text-generation-inference's own API", lambda fields: _has(fields, "generated_text", "token")),
    ("llama.cpp's own API", lambda fields: "content" in fields and "stop" in fields),
    ("Spark's own API", lambda fields: "header" in fields and "payload" in fields),
)


#: Fields of events that say nothing of the answer, as signs of life do.
_QUIET = frozenset(
    {"type", "event", "id", "object", "created", "model", "usage", "x_groq", "error"}
)


class ForeignForm:
    """What came instead of choices, for an answer that has none."""

    def __init__(self) -> None:
        self._quoted = self._name = ""

    def note(self, parsed: object, data: bytes) -> None:
        """Note the form of an event. Raises ForeignFormError for a list of several events."""
        first = parsed[0] if isinstance(parsed, list) and parsed else parsed
        if self._name or not isinstance(first, dict) or first.keys() <= _QUIET:
            return
        if "choices" in unwrapped(first):
            return
        self._name = next((name for name, is_of in _FORMS if is_of(first)), "")
        if self._name or not self._quoted:
            self._quoted = data[:MAX_QUOTED_CHARS].decode("utf-8", "replace")
        if self._name and isinstance(parsed, list) and len(parsed) > 1:
            raise ForeignFormError(self._name, self._quoted)

    def error(self, secret: str | None) -> ProviderError | None:
        """The error of an answer with nothing else; None if nothing was noted."""
        if not self._quoted:
            return None
        quoted = redact(self._quoted, secret)
        if self._name:
            return ForeignFormError(self._name, quoted)
        return InvalidResponseError(f"the response has no choices: {quoted}")
