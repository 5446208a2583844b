"""Log, metric and audit trail of login attempts.

A flood of failures must fill neither disk nor table: equal events of an hour share a row, refusals
of an address are noted once a minute (accounts/sessions/throttle.py), and the table is bounded.
"""

from __future__ import annotations

import itertools
import logging
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db import DatabaseError, connection
from django.http import HttpRequest
from django.utils import timezone

from accounts import metrics
from accounts.login_models import LoginOutcome as Outcome
from accounts.models import LoginEvent, User
from aily.network.client_address import request_address

logger = logging.getLogger(__name__)

USER_AGENT_LENGTH = 200
#: Rows of failures that are kept. Successful logins are not counted: failures cannot push them out.
MAX_FAILURES = 100_000
#: After this many events the oldest rows are deleted, this many at once: more than were added.
PRUNE_EVERY, PRUNE_ROWS = 100, 500

_written = itertools.count(1)

_ADD = """
INSERT INTO accounts_loginevent AS event
    (hour, first_at, last_at, count, outcome, method, user_id, username, address, user_agent)
VALUES (date_trunc('hour', %(now)s::timestamptz, 'UTC'), %(now)s, %(now)s, 1, %(outcome)s,
        %(method)s, %(user)s, %(username)s, %(address)s, %(user_agent)s)
ON CONFLICT (hour, username, address, method, outcome) DO UPDATE
SET count = event.count + 1, last_at = excluded.last_at, user_agent = excluded.user_agent
"""


@dataclass(frozen=True, slots=True)
class Origin:
    """Address and user agent of a login attempt or of a session's use."""

    address: str
    user_agent: str

    @classmethod
    def of(cls, request: HttpRequest) -> Origin:
        return cls.at(request_address(request), str(request.META.get("HTTP_USER_AGENT", "")))

    @classmethod
    def at(cls, address: str, user_agent: str) -> Origin:
        shown = (character for character in user_agent[:1000] if character.isprintable())
        return cls(address, "".join(shown)[:USER_AGENT_LENGTH])


def note_login(origin: Origin, method: str, outcome: str, user: User | None) -> None:
    """Log, count and store one event. Refusals are counted elsewhere, one by one.

    Never raises DatabaseError: the response matters more than the trail.
    """
    if outcome != Outcome.REFUSED:
        metrics.login(method, outcome).inc()
    username = user.get_username() if user is not None else ""
    logger.log(
        logging.INFO if outcome == Outcome.SUCCEEDED else logging.WARNING,
        "login %s: %s of %s from %s",
        outcome,
        method,
        username or "an unknown account",
        origin.address or "nowhere",
        extra={
            "event": "login",
            "outcome": str(outcome),
            "method": str(method),
            "username": username,
            "address": origin.address,
        },
    )
    try:
        _store(origin, method, outcome, user, username)
    except DatabaseError as error:
        logger.warning("a log-in could not be stored in the audit trail: %s", error)


def named_user(username: str) -> User | None:
    """Return the user with this name, if there is one."""
    if "\0" in username:
        return None
    return User.objects.filter(username=username).only("pk", "username").first()


def _store(origin: Origin, method: str, outcome: str, user: User | None, username: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            _ADD,
            {
                "now": timezone.now(),
                "outcome": str(outcome),
                "method": str(method),
                "user": user.pk if user is not None else None,
                "username": username,
                "address": origin.address or None,
                "user_agent": origin.user_agent,
            },
        )
    if next(_written) % PRUNE_EVERY == 0:
        prune()


def prune() -> None:
    """Delete some rows that are too old, and failures beyond MAX_FAILURES."""
    too_old = LoginEvent.objects.filter(
        hour__lt=timezone.now() - timedelta(days=settings.LOGIN_LOG_DAYS)
    )
    failures = LoginEvent.objects.exclude(outcome=Outcome.SUCCEEDED).order_by("-pk")
    newest = failures.values_list("pk", flat=True)
    edge = newest[MAX_FAILURES : MAX_FAILURES + 1].first()
    for rows in (too_old, failures.filter(pk__lte=edge) if edge is not None else None):
        if rows is not None:
            oldest = rows.order_by("pk").values_list("pk", flat=True)[:PRUNE_ROWS]
            LoginEvent.objects.filter(pk__in=list(oldest)).delete()
