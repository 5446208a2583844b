"""Outcomes of attempts: delivered, to be retried or failed; endpoints that fail are disabled."""

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
from chat.reasons import Reason

_MINUTE, _HOUR = 60, 3600
#: Waits between the attempts of a delivery: about two days in all.
RETRY_SECONDS = (
    5, 30, 2 * _MINUTE, 10 * _MINUTE, _HOUR, 3 * _HOUR, 6 * _HOUR, 12 * _HOUR, 24 * _HOUR
)  # fmt: skip
MAX_ATTEMPTS = len(RETRY_SECONDS) + 1
#: Spreads the retries of deliveries that failed together.
JITTER = 0.2
#: A longer Retry-After is cut to this.
MAX_RETRY_AFTER_SECONDS = 24 * _HOUR
#: An endpoint that has failed for so long is disabled.
DISABLE_AFTER = timedelta(days=5)
GONE = 410
#: Why endpoints are disabled.
BY_STAFF, BY_OWNER = Reason("endpoint_by_staff"), Reason("endpoint_by_owner")
_IS_GONE = Reason("endpoint_gone")
UNREACHED = Reason.of("endpoint_unreached", days=DISABLE_AFTER.days)
MAX_ERROR_CHARS = 300


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of one attempt to send `delivery`, the row as it was claimed."""

    delivery: Delivery
    is_delivered: bool
    response_status: int | None = None
    error: str = ""
    retry_after_seconds: float | None = None
    #: True: another attempt would fail in the same way.
    is_final: bool = False

    def label(self) -> str:
        """The outcome as metrics count it: delivered, failed or retried."""
        if self.is_delivered:
            return "delivered"
        is_over = self.is_final or self.delivery.attempts >= MAX_ATTEMPTS
        return "failed" if is_over else "retried"

    def fields(self, now: datetime) -> dict[str, object]:
        """The columns that change, with their new values."""
        fields: dict[str, object] = {
            "locked_until": None,
            "response_status": self.response_status,
            # Part of it may come from the receiver.
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


def answered(status: int | None) -> Reason:
    """Why a delivery failed that got a response."""
    return Reason.of("endpoint_answered", status=status)


def wait_seconds(attempts: int, retry_after_seconds: float | None) -> float:
    """Seconds until the next attempt, after `attempts` of them; Retry-After is a floor."""
    wait = RETRY_SECONDS[attempts - 1]
    if retry_after_seconds is not None and not math.isnan(retry_after_seconds):
        wait = max(wait, math.ceil(min(retry_after_seconds, MAX_RETRY_AFTER_SECONDS)))
    return wait * random.uniform(1, 1 + JITTER)  # noqa: S311 - no secret


def store_outcomes(outcomes: Sequence[Outcome]) -> list[bool]:
    """Store outcomes in one transaction. False for each whose claim has ended meanwhile."""
    now = timezone.now()
    with transaction.atomic():
        is_stored = [_store_outcome(outcome, now) for outcome in outcomes]
        _update_endpoints([outcome for outcome in outcomes if outcome.delivery.endpoint_id], now)
    return is_stored


def _store_outcome(outcome: Outcome, now: datetime) -> bool:
    claimed = Delivery.objects.filter(
        pk=outcome.delivery.pk,
        state=Delivery.State.PENDING,
        locked_until=outcome.delivery.locked_until,
    )
    return claimed.update(**outcome.fields(now)) == 1


def _update_endpoints(outcomes: Sequence[Outcome], now: datetime) -> None:
    """Store since when endpoints fail, and disable those that are gone or have failed for days."""
    changing = {
        outcome.delivery.endpoint_id
        for outcome in outcomes
        if outcome.delivery.endpoint_id and _changes_endpoint(outcome, now)
    }
    if not changing:
        return
    # Locked in the order of their ids, so that two transactions never wait for each other.
    locked = WebhookEndpoint.objects.select_for_update(no_key=True).order_by("pk")
    endpoints = {endpoint.pk: endpoint for endpoint in locked.filter(pk__in=changing)}
    for outcome in outcomes:
        endpoint = endpoints.get(outcome.delivery.endpoint_id or 0)
        if endpoint is not None:
            _apply(outcome, endpoint, now)
    for endpoint in endpoints.values():
        endpoint.save(
            update_fields=["failing_since", "is_active", "disabled_at", "disabled_reason"]
        )


def _changes_endpoint(outcome: Outcome, now: datetime) -> bool:
    """Whether the endpoint's row may have to change, judged by what was read with the claim."""
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
        _disable(endpoint, now, _IS_GONE)
    elif endpoint.failing_since < now - DISABLE_AFTER:
        _disable(endpoint, now, UNREACHED)


def _disable(endpoint: WebhookEndpoint, now: datetime, reason: Reason) -> None:
    endpoint.is_active = False
    endpoint.disabled_at = now
    endpoint.disabled_reason = str(reason)
