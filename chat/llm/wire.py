"""The fields we read of a provider's JSON; everything else in it is skipped undecoded.

These shapes are strict, which makes them fast. What does not fit them is read once more by
`chat.llm.lenient`, where only what matters has to be as expected.
"""

from __future__ import annotations

import msgspec

#: A field that may be anything, as JSON; empty, if it was not there.
Anything = msgspec.Raw
MISSING = msgspec.Raw()
_BLANK = frozenset({b"", b"null", b"false", b'""'})
_LONGEST_BLANK = 5


class WireFunction(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | None = None
    parameters: Anything = MISSING
    """What some models, and their servers, write in place of arguments."""


class WireToolCall(msgspec.Struct, gc=False):
    index: int | None = None
    id: str | None = None
    function: WireFunction | None = None
    name: str | None = None
    arguments: str | None = None
    """Of servers that send a call flat, without a function."""
    extra_content: Anything = MISSING
    """Gemini's, which wants its signature back with the call."""


class WireDelta(msgspec.Struct, gc=False):
    """What most events of a stream have."""

    content: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[WireToolCall] | None = None
    reasoning: str | None = None


class WireAudio(msgspec.Struct, gc=False):
    """Speech, of which its text is kept."""

    transcript: str | None = None


class WireMessage(WireDelta, gc=False):
    """A `delta` of a stream or the whole `message` of a response that is none."""

    refusal: str | None = None
    function_call: WireFunction | None = None
    """What came before tool calls."""
    reasoning_text: str | None = None
    """Copilot's."""
    reasoning_details: Anything = MISSING
    thinking: Anything = MISSING
    thinking_blocks: Anything = MISSING
    audio: WireAudio | None = None
    images: Anything = MISSING
    """Images, and other parts that are neither text nor reasoning."""


class WirePromptDetails(msgspec.Struct, gc=False):
    cached_tokens: int | None = None


class WireCompletionDetails(msgspec.Struct, gc=False):
    reasoning_tokens: int | None = None


class WireUsage(msgspec.Struct, gc=False):
    """Names differ: OpenAI's, DeepSeek's, Moonshot's (`cached_tokens`), Anthropic's."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_cache_hit_tokens: int | None = None
    prompt_tokens_details: WirePromptDetails | None = None
    completion_tokens_details: WireCompletionDetails | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    input_tokens_details: WirePromptDetails | None = None
    output_tokens_details: WireCompletionDetails | None = None

    @property
    def is_empty(self) -> bool:
        """Whether it has none of these counts."""
        return self == _NO_COUNTS


_NO_COUNTS = WireUsage()


class WireStreamChoice(msgspec.Struct, gc=False):
    index: int = 0
    delta: WireDelta | None = None
    finish_reason: str | None = None
    error: Anything = MISSING


class WireStreamChunk(msgspec.Struct, gc=False):
    """An event of a stream as most are. The few that have something else to say, such as the
    first and the last, are decoded once more, as a WireChunk: each field costs each event."""

    choices: list[WireStreamChoice] | None = None
    usage: WireUsage | None = None
    error: Anything = MISSING


class WireChoice(msgspec.Struct, gc=False):
    index: int = 0
    delta: WireMessage | None = None
    message: WireMessage | None = None
    finish_reason: str | None = None
    text: str | None = None
    """Sent by servers with the older completions API."""
    usage: WireUsage | None = None
    """Moonshot's."""
    error: Anything = MISSING
    """OpenRouter's."""
    logprobs: Anything = MISSING


class WireGroq(msgspec.Struct, gc=False):
    """Groq's own field."""

    usage: WireUsage | None = None
    error: Anything = MISSING


class WireName(msgspec.Struct, gc=False):
    """What each event repeats, and the first is asked for."""

    id: str | None = None
    model: str | None = None


class WireChunk(msgspec.Struct, gc=False):
    """One event of a stream, or the whole of a response that is none."""

    choices: list[WireChoice] | None = None
    usage: WireUsage | None = None
    error: Anything = MISSING
    base_resp: Anything = MISSING
    """MiniMax's, there whether it is an error or not."""
    x_groq: WireGroq | None = None

    @property
    def is_blank(self) -> bool:
        """Neither text nor counts: it may be an error in a form of the vendor's own."""
        return not self.choices and self.usage is None and self.x_groq is None

    @property
    def lacks_counts(self) -> bool:
        """Whether neither `usage` nor Groq's field has token counts."""
        return self.x_groq is None and (self.usage is None or self.usage.is_empty)

    @property
    def is_last(self) -> bool:
        """Whether it ends the answer, or comes after its end: there vendors report counts."""
        return not self.choices or bool(self.choices[0].finish_reason) or self.usage is not None


_decoder = msgspec.json.Decoder(WireChunk)
_stream_decoder = msgspec.json.Decoder(WireStreamChunk)
_stream_array_decoder = msgspec.json.Decoder(list[WireStreamChunk])
_name_decoder = msgspec.json.Decoder(WireName)
_Undecodable = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def decode_chunk(data: bytes) -> WireChunk | None:
    """Decode one JSON object. None if it has an unusual shape."""
    try:
        return _decoder.decode(data)
    except _Undecodable:
        return None


def decode_stream_chunk(data: bytes) -> WireStreamChunk | None:
    """Decode one event of a stream. None if it has an unusual shape."""
    try:
        return _stream_decoder.decode(data)
    except _Undecodable:
        return None


def decode_stream_chunks(array: bytes) -> list[WireStreamChunk] | None:
    """Decode a JSON array of chunks, at a third of the cost of one by one. None if one of them has
    an unusual shape."""
    try:
        return _stream_array_decoder.decode(array)
    except _Undecodable:
        return None


def decode_name(data: bytes) -> WireName:
    """Read id and model of a JSON object; empty if it has none."""
    try:
        return _name_decoder.decode(data)
    except _Undecodable:
        return WireName()


def has_value(field: Anything) -> bool:
    """Whether the field is there, and neither null, false nor empty."""
    return len(field) > _LONGEST_BLANK or bytes(field) not in _BLANK


def value_of(field: Anything) -> object:
    """Decode a field of any type; None if it is too deep or too large."""
    if len(field) > MAX_FIELD_BYTES:
        return None
    try:
        return msgspec.json.decode(field)
    except _Undecodable:
        return None


#: Bytes of a field that may be anything: values are decoded into objects, tens of bytes for each.
MAX_FIELD_BYTES = 1024 * 1024
