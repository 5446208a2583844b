"""Problems in the language of the admin's pages."""

from __future__ import annotations

import re
from functools import cache

from django.utils.translation import gettext

from aily.problems import Problem
from chat.error_texts import error_text
from chat.reasons import SENTENCES, Reason, services


def shown(reason: Reason) -> str:
    return gettext(SENTENCES[reason.name]) % reason.params


def translated(problem: Problem) -> str:
    return str(error_text("", problem.message, problem.params))


def shown_sentence(sentence: str, *, code: str = "") -> str:
    """A stored sentence: that of a reason; any other is quoted behind the text of `code`."""
    reason = reason_of(sentence)
    params = reason.as_params() if reason is not None else None
    return str(error_text(code, sentence, params, has_detail=True)) if sentence else ""


def reason_of(sentence: str) -> Reason | None:
    """The reason that a row of deliveries or tools has kept as its sentence alone."""
    for name, pattern in _patterns():
        if found := pattern.fullmatch(sentence):
            return Reason(name, found.groupdict())
    return None


@cache
def _patterns() -> list[tuple[str, re.Pattern[str]]]:
    return [(name, _pattern(text)) for name, text in services.SENTENCES.items()]


def _pattern(sentence: str) -> re.Pattern[str]:
    """What matches a sentence, with its parameters as groups."""
    parts = re.split(r"%\((\w+)\)s", sentence)
    texts, names = parts[::2], parts[1::2]
    groups = [f"(?P<{name}>.*)" for name in names]
    joined = [
        text for pair in zip(map(re.escape, texts), [*groups, ""], strict=True) for text in pair
    ]
    return re.compile("".join(joined), re.DOTALL)
