"""Problems in the language of the admin's pages."""

from __future__ import annotations

from django.utils.translation import gettext

from aily.problems import Problem
from chat.error_texts import error_text
from chat.reasons import SENTENCES, Reason


def shown(reason: Reason) -> str:
    return gettext(SENTENCES[reason.name]) % reason.params


def translated(problem: Problem) -> str:
    return str(error_text("", problem.message, problem.params))


def shown_sentence(sentence: str, *reasons: Reason, code: str = "") -> str:
    """A stored sentence: that of one of these reasons, or one without parameters; any other is
    quoted behind the text of `code`."""
    known = next((reason for reason in reasons if str(reason) == sentence), None)
    params = known.as_params() if known is not None else None
    return str(error_text(code, sentence, params, has_detail=True)) if sentence else ""
