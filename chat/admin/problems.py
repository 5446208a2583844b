"""Problems in the language of the admin's pages."""

from __future__ import annotations

from django.utils.translation import gettext

from aily.problems import Problem
from chat.reasons import SENTENCES, Reason


def shown(reason: Reason) -> str:
    return gettext(SENTENCES[reason.name]) % reason.params


def translated(problem: Problem) -> str:
    sentence = SENTENCES.get(str(problem.params.get("rule")))
    return problem.message if sentence is None else gettext(sentence) % problem.params
