"""The repair turn: the provider is sent what was wrong with its answer, once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

#: Characters of a misfit answer that are kept, and sent back for the repair.
MAX_QUOTED_CHARS = 32_768
#: Bytes of the turn's own words: errors are bounded in number and length.
MAX_WORDS_BYTES = 8_192

_Message = dict[str, Any]


class Repair(msgspec.Struct, frozen=True):
    """The answer of `attempt` that did not fit, as the row keeps it for the next attempt.

    `usage` is that of all calls so far.
    """

    attempt: int
    text: str
    errors: Sequence[str]
    usage: dict[str, int]


def repair_turn(repair: Repair) -> list[_Message]:
    """The messages that ask for a repaired answer."""
    errors = "\n".join(f"- {error}" for error in repair.errors)
    words = (
        "Your answer does not fit the JSON Schema:\n\n"
        f"{errors}\n\n"
        "Answer once more, with the whole corrected JSON and nothing else."
    )
    return [
        {"role": "assistant", "content": repair.text},
        {"role": "user", "content": words},
    ]


def quoted(text: str) -> str:
    """Cut an answer to the length that is sent back."""
    return text if len(text) <= MAX_QUOTED_CHARS else f"{text[:MAX_QUOTED_CHARS]} [...]"
