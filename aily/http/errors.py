"""Turns any exception of an endpoint into a Problem, which each surface answers in its own form."""

from __future__ import annotations

import logging

from django.core.signals import got_request_exception
from starlette.requests import Request

from aily.database.outages import AWAY, as_problem, is_away
from aily.problems import Problem, Unexpected

logger = logging.getLogger(__name__)


def problem_of(request: Request, error: Exception) -> Problem:
    """Return the problem that answers the request. What is no outage is logged as a fault."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, AWAY) and is_away(error):
        logger.warning("%s %s: %s", request.method, request.scope["path"], error)
        return as_problem(error)
    logger.error("%s %s failed", request.method, request.scope["path"], exc_info=error)
    # Error reporters listen to this signal.
    got_request_exception.send(sender=None, request=None)
    return Unexpected("Something went wrong here. It has been logged.")
