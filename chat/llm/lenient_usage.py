"""Reads token counts of any type, by OpenAI's names or the vendor's own, wherever they stand.

A count of another type costs that count, never the answer.
"""

from __future__ import annotations

import math
import re

from chat.llm.wire import WireCompletionDetails, WirePromptDetails, WireUsage

_MAX_DIGITS = 20
_COUNTS = tuple(
    name
    for name in WireUsage.__struct_fields__
    if name.endswith("_tokens") and not name.endswith("details")
)
#: Where an event without `usage` may hold counts: Gemini's, Cohere's older API, Bedrock's.
_PLACES = ("usageMetadata", "usage_metadata", "meta", "amazon-bedrock-invocationMetrics")
#: Cohere counts what it bills, and what its model read, each within one of these.
_INNER_PLACES = ("billed_units", "tokens")
# The vendors' names, without underscores and in lower case.
_PROMPT = ("prompttokens", "inputtokens", "prompttokencount", "inputtokencount", "promptevalcount")
_ANSWER = (
    *("completiontokens", "outputtokens", "candidatestokencount", "responsetokencount"),
    *("outputtokencount", "generatedtokencount", "evalcount"),
)
_TOTAL = ("totaltokens", "totaltokencount")
_CACHED = (
    *("cachedtokens", "cachedcontenttokencount", "cachereadinputtokens"),
    *("cachereadinputtokencount", "promptcachehittokens"),
)
_THOUGHTS = ("reasoningtokens", "thoughtstokencount")
#: Marks an event that may hold counts by other names than OpenAI's.
_NATIVE = re.compile(rb'"(?:\w+_?[tT]okens?(?:_?[cC]ount)?|billed_units|tokens|\w*eval_count)"')


def may_have_native_counts(data: bytes) -> bool:
    """Whether an event names token counts at all: only then it is worth a second reading."""
    return _NATIVE.search(data) is not None


def read_counts(parsed: dict[str, object]) -> WireUsage | None:
    """Token counts of an event; None where it has none."""
    usage = read_usage(parsed.get("usage"))
    if usage is not None and not usage.is_empty:
        return usage
    for place in (parsed.get("usage"), *map(parsed.get, _PLACES), parsed):
        if isinstance(place, dict) and (native := _native(place)) is not None:
            return native
    return usage


def read_usage(usage: object) -> WireUsage | None:
    """Token counts by OpenAI's names, each of which may be text or missing."""
    if not isinstance(usage, dict):
        return None
    counts = WireUsage()
    for name in _COUNTS:
        setattr(counts, name, read_integer(usage.get(name)))
    for name in ("prompt_tokens_details", "input_tokens_details"):
        if cached := _detail(usage.get(name), "cached_tokens"):
            setattr(counts, name, WirePromptDetails(cached))
    for name in ("completion_tokens_details", "output_tokens_details"):
        if reasoning := _detail(usage.get(name), "reasoning_tokens"):
            setattr(counts, name, WireCompletionDetails(reasoning))
    return counts


def read_integer(value: object) -> int | None:
    """A whole number, also when the vendor sent a fraction or text."""
    if isinstance(value, str) and len(value) <= _MAX_DIGITS:
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, float):
        return int(value) if math.isfinite(value) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _detail(details: object, name: str) -> int | None:
    return read_integer(details.get(name)) if isinstance(details, dict) else None


def _native(place: dict[str, object]) -> WireUsage | None:
    """Token counts by the vendor's own names; None where there are none."""
    inner = next((place[name] for name in _INNER_PLACES if isinstance(place.get(name), dict)), {})
    fields = place | inner if isinstance(inner, dict) else place
    counts = {name.replace("_", "").lower(): read_integer(value) for name, value in fields.items()}
    prompt, answer = _first(counts, _PROMPT), _first(counts, _ANSWER)
    total, thoughts = _first(counts, _TOTAL), _first(counts, _THOUGHTS)
    if not (prompt or answer or total):
        return None
    # Gemini counts thoughts and the results of its own tools apart, but bills them.
    prompt += counts.get("tooluseprompttokencount") or 0
    if "candidatestokencount" in counts and total != prompt + answer:
        answer += thoughts
    return WireUsage(
        prompt_tokens=prompt,
        completion_tokens=answer,
        total_tokens=total,
        cached_tokens=_first(counts, _CACHED),
        reasoning_tokens=thoughts,
    )


def _first(counts: dict[str, int | None], names: tuple[str, ...]) -> int:
    return next((count for name in names if (count := counts.get(name))), 0)
