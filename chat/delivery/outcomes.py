"""What came of an attempt: arrived, to be tried again, or given up; and what the endpoint gets."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.utils import timezone

from chat.llm.types import storable
from chat.models import Delivery, WebhookEndpoint

_MINUTE, _HOUR = 60, 3600
#: Waits between the attempts of a delivery: about two days in all.
RETRY_SECONDS = (
    5, 30, 2 * _MINUTE, 10 * _MINUTE, _HOUR, 3 * _HOUR, 6 * _HOUR, 12 * _HOUR, 24 * _HOUR
)  # fmt: skip
MAX_ATTEMPTS = len(RETRY_SECONDS) + 1
#: Spreads the retries of what failed together.
JITTER = 0.2
#: No Retry-After puts a delivery off for longer.
MAX_RETRY_AFTER_SECONDS = 24 * _HOUR
#: An endpoint that nothing reached for so long is asked no more.
DISABLE_AFTER = timedelta(days=5)
GONE = 410
MAX_ERROR_CHARS = 300


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one attempt to send `delivery`, which is as it was claimed."""

    delivery: Delivery
    is_delivered: bool
    response_status: int | None = None
    error: str = ""
    retry_after_seconds: float | None = None
    #: Another attempt could end no other way.
    is_final: bool = False

    def word(self) -> str:
        """What came of the attempt, in a word: delivered, failed or retried."""
        if self.is_delivered:
            return "delivered"
        is_over = self.is_final or self.delivery.attempts >= MAX_ATTEMPTS
        return "failed" if is_over else "retried"

    def fields(self, now: datetime) -> dict[str, object]:
        """The columns that change with it."""
        fields: dict[str, object] = {
            "locked_until": None,
            "response_status": self.response_status,
            # The words may be a stranger's.
            "error": storable(self.error)[:MAX_ERROR_CHARS],
            "next_attempt_at": None,
        }
        attempts = self.delivery.attempts
        if self.is_delivered:
            return {**fields, "state": Delivery.State.DELIVERED, "delivered_at": now}
        if self.is_final or attempts >= MAX_ATTEMPTS:
            return {**fields, "state": Delivery.State.FAILED}
        seconds = wait_seconds(attempts, self.retry_after_seconds)
        return {**fields, "next_attempt_at": now + timedelta(seconds=seconds)}


def wait_seconds(attempts: int, retry_after_seconds: float | None) -> float:
    """Seconds until the next attempt, after `attempts` of them; Retry-After is a floor."""
    wait = RETRY_SECONDS[attempts - 1]
    if retry_after_seconds is not None and not math.isnan(retry_after_seconds):
        wait = max(wait, math.ceil(min(retry_after_seconds, MAX_RETRY_AFTER_SECONDS)))
    return wait * random.uniform(1, 1 + JITTER)  # noqa: S311 - no secret


def note(outcomes: Sequence[Outcome]) -> list[bool]:
    """Write outcomes down in one transaction. False for each whose claim was lost meanwhile."""
    now = timezone.now()
    with transaction.atomic():
        noted = [
            Delivery.objects.filter(
                pk=one.delivery.pk,
                state=Delivery.State.PENDING,
                locked_until=one.delivery.locked_until,
            ).update(**one.fields(now))
            == 1
            for one in outcomes
        ]
        _note_endpoints([one for one in outcomes if one.delivery.endpoint_id], now)
    return noted


def _note_endpoints(outcomes: Sequence[Outcome], now: datetime) -> None:
    """Remember since when an endpoint fails, and disable what is gone or failed for days."""
    changing = {
        one.delivery.endpoint_id
        for one in outcomes
        if one.delivery.endpoint_id and _changes_endpoint(one, now)
    }
    if not changing:
        return
    # In one order: two of these at once must not wait for each other.
    locked = WebhookEndpoint.objects.select_for_update(no_key=True).order_by("pk")
    endpoints = {endpoint.pk: endpoint for endpoint in locked.filter(pk__in=changing)}
    for one in outcomes:
        endpoint = endpoints.get(one.delivery.endpoint_id or 0)
        if endpoint is not None:
            _apply(one, endpoint, now)
    for endpoint in endpoints.values():
        endpoint.save(
            update_fields=["failing_since", "is_active", "disabled_at", "disabled_reason"]
        )


def _changes_endpoint(outcome: Outcome, now: datetime) -> bool:
    """Whether there may be anything to write, going by the endpoint as it was claimed."""
    endpoint = outcome.delivery.endpoint
    if endpoint is None or not endpoint.is_active:
        return False
    if outcome.is_delivered:
        return endpoint.failing_since is not None
    since = endpoint.failing_since
    return outcome.response_status == GONE or since is None or since < now - DISABLE_AFTER


def _apply(outcome: Outcome, endpoint: WebhookEndpoint, now: datetime) -> None:
    if outcome.is_delivered:
        endpoint.failing_since = None
        return
    endpoint.failing_since = endpoint.failing_since or now
    if not endpoint.is_active:
        return
    if outcome.response_status == GONE:
        _disable(endpoint, now, "It answered 410 Gone.")
    elif endpoint.failing_since < now - DISABLE_AFTER:
        _disable(endpoint, now, f"Nothing has reached it for {DISABLE_AFTER.days} days.")


def _disable(endpoint: WebhookEndpoint, now: datetime, reason: str) -> None:
    endpoint.is_active = False
    endpoint.disabled_at = now
    endpoint.disabled_reason = reason
