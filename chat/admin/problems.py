"""Problems in the language of the admin's pages."""

from __future__ import annotations

from django.utils.translation import gettext

from aily.problems import Problem
from chat.exceptions import RefusedInput
from chat.reasons import SENTENCES


def translated(problem: Problem) -> str:
    if not isinstance(problem, RefusedInput):
        return problem.message
    reason = problem.reason
    return gettext(SENTENCES[reason.name]) % reason.params
