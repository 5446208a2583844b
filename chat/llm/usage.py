"""Token counts of an answer, from the fields in which its provider reports them."""

from __future__ import annotations

from chat.llm.types import Usage
from chat.llm.wire import WireUsage

#: No call has so many tokens: a greater count is none. Columns hold it.
MAX_TOKENS = 2_000_000_000


def add_usage(known: Usage, wire: WireUsage) -> Usage:
    """Counts that are repeated grow: the last that says something stands. Some providers send
    those of the prompt first and those of the answer last."""
    prompt = _count(wire.prompt_tokens or wire.input_tokens) or known.prompt_tokens
    completion = _count(wire.completion_tokens or wire.output_tokens) or known.completion_tokens
    total, reasoning = _count(wire.total_tokens), _reasoning(wire)
    if reasoning and total == prompt + completion + reasoning:
        # xAI counts thoughts apart, but bills them.
        completion += reasoning
    return Usage(
        prompt,
        completion,
        # Some count what is new in each event, others give a total in one alone.
        max(total or known.total_tokens, prompt + completion),
        _cached(wire) or known.cached_tokens,
        reasoning or known.reasoning_tokens,
    )


def _cached(wire: WireUsage) -> int:
    details = wire.prompt_tokens_details or wire.input_tokens_details
    return _count(
        (details.cached_tokens if details is not None else None)
        or wire.prompt_cache_hit_tokens
        or wire.cached_tokens
        or wire.cache_read_input_tokens
    )


def _reasoning(wire: WireUsage) -> int:
    details = wire.completion_tokens_details or wire.output_tokens_details
    return _count(
        (details.reasoning_tokens if details is not None else None) or wire.reasoning_tokens
    )


def _count(count: int | None) -> int:
    return count if count and 0 < count <= MAX_TOKENS else 0
