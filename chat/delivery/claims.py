"""Claims due deliveries: each by one worker at a time, with a cap for each destination."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.db.models.functions import Left

from aily.database.rows import Row, execute, fetch_rows
from chat.delivery.payloads import MAX_BODY_BYTES
from chat.models import Delivery
from chat.models.delivery import EMAIL_DESTINATION

#: Then a claim ends, and another worker may send the delivery. Longer than any attempt takes.
CLAIM_SECONDS = 60
#: Attempts at once to one endpoint, over all workers. A failing endpoint is only probed, so that
#: its deliveries do not use up MAX_IN_FLIGHT.
MAX_PER_ENDPOINT = 16
MAX_PER_FAILING_ENDPOINT = 1
#: Mails at once, over all workers: Django's mail backends block a thread each.
MAX_MAILS = 4
#: Key of the lock that makes counting and claiming one step: no other lock uses it.
_ADVISORY_LOCK = 0x61696C79

_LIMITS = {
    "max_per_endpoint": MAX_PER_ENDPOINT,
    "max_per_failing_endpoint": MAX_PER_FAILING_ENDPOINT,
    "max_mails": MAX_MAILS,
    "email_destination": EMAIL_DESTINATION,
    "claim_seconds": CLAIM_SECONDS,
}

# Each destination with pending deliveries is found by one index probe, however many it has; `due`
# then takes the oldest of each.
_CLAIM = """
WITH RECURSIVE destinations AS (
    (SELECT destination FROM chat_delivery WHERE state = 'pending' ORDER BY destination LIMIT 1)
  UNION ALL
    SELECT (SELECT d.destination FROM chat_delivery d
             WHERE d.state = 'pending' AND d.destination > w.destination
             ORDER BY d.destination LIMIT 1)
      FROM destinations w WHERE w.destination IS NOT NULL
), chosen AS (
    SELECT due.id
      FROM destinations w CROSS JOIN LATERAL (
          SELECT d.id, d.next_attempt_at FROM chat_delivery d
           WHERE d.state = 'pending' AND d.destination = w.destination
             AND d.next_attempt_at <= now()
             AND (d.locked_until IS NULL OR d.locked_until <= now())
           ORDER BY d.next_attempt_at
           LIMIT greatest(0, CASE
               WHEN w.destination = %(email_destination)s THEN %(max_mails)s
               WHEN EXISTS (SELECT FROM chat_webhookendpoint e
                             WHERE e.id = w.destination AND e.failing_since IS NOT NULL)
               THEN %(max_per_failing_endpoint)s ELSE %(max_per_endpoint)s END - (
               SELECT count(*) FROM chat_delivery b
                WHERE b.state = 'pending' AND b.destination = w.destination
                  AND b.locked_until > now()))
      ) due
     ORDER BY due.next_attempt_at LIMIT %(limit)s
)
UPDATE chat_delivery
   SET attempts = attempts + 1,
       locked_until = now() + make_interval(secs => %(claim_seconds)s)
  FROM chosen WHERE chat_delivery.id = chosen.id
RETURNING chat_delivery.id, chat_delivery.locked_until
"""
#: Columns of the task that no delivery needs, or only the beginning of.
_LARGE = (
    *("task__messages", "task__params", "task__response_format", "task__repair"),
    *("task__text", "task__reasoning", "task__tool_calls"),
)


class _Claim(Row, frozen=True):
    id: UUID
    locked_until: datetime


def claim(limit: int) -> Sequence[Delivery]:
    """Claim up to `limit` due deliveries, the longest due first, with all that sending needs.

    Their `locked_until` is the claim: an outcome is stored only while the row still has it.
    """
    with transaction.atomic():
        execute("SELECT pg_advisory_xact_lock(%(key)s)", {"key": _ADVISORY_LOCK})
        claims = fetch_rows(_Claim, _CLAIM, {**_LIMITS, "limit": limit})
    claimed = {row.id: row.locked_until for row in claims}
    if not claimed:
        return []
    related = ("owner", "endpoint", "task__model", "task__scene")
    rows = Delivery.objects.select_related(*related).defer(*_LARGE)
    # An answer may be megabytes; a message shows no more of it than this.
    rows = rows.annotate(text=Left("task__text", MAX_BODY_BYTES + 1)).filter(pk__in=claimed)
    # If another worker has claimed it since, that worker sends it.
    deliveries = [row for row in rows if row.locked_until == claimed[row.pk]]
    for delivery in deliveries:
        if delivery.task is not None:
            delivery.task.text = vars(delivery)["text"]
    return deliveries
