"""Taking due deliveries: each by one worker at a time, and no more than a few to one place."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.db.models.functions import Left

from aily.database.statements import fetch_all
from chat.delivery.payloads import MAX_BODY_BYTES
from chat.models import Delivery
from chat.models.delivery import EMAIL_DESTINATION

#: A worker that has noted no outcome by then counts as dead. Longer than any attempt takes.
LEASE_SECONDS = 60
#: Attempts at once to one endpoint, over all workers. One that fails is only asked whether it is
#: back, so that dead ones take no room from the others.
EACH = 16
EACH_FAILING = 1
#: Mails at once, over all workers: Django's mail backends block a thread each.
EACH_MAIL = 4
#: The lock that makes counting and claiming one step: any number no other lock uses.
_ADVISORY_LOCK = 0x61696C79

_LIMITS = {
    "each": EACH,
    "each_failing": EACH_FAILING,
    "each_mail": EACH_MAIL,
    "mail": EMAIL_DESTINATION,
    "lease_seconds": LEASE_SECONDS,
}

# The destinations that have anything pending are found one index probe each, however much waits
# for one of them; `due` then takes the oldest of each.
_CLAIM = """
WITH RECURSIVE waiting AS (
    (SELECT destination FROM chat_delivery WHERE state = 'pending' ORDER BY destination LIMIT 1)
  UNION ALL
    SELECT (SELECT d.destination FROM chat_delivery d
             WHERE d.state = 'pending' AND d.destination > w.destination
             ORDER BY d.destination LIMIT 1)
      FROM waiting w WHERE w.destination IS NOT NULL
), chosen AS (
    SELECT due.id
      FROM waiting w CROSS JOIN LATERAL (
          SELECT d.id, d.next_attempt_at FROM chat_delivery d
           WHERE d.state = 'pending' AND d.destination = w.destination
             AND d.next_attempt_at <= now()
             AND (d.locked_until IS NULL OR d.locked_until <= now())
           ORDER BY d.next_attempt_at
           LIMIT greatest(0, CASE
               WHEN w.destination = %(mail)s THEN %(each_mail)s
               WHEN EXISTS (SELECT FROM chat_webhookendpoint e
                             WHERE e.id = w.destination AND e.failing_since IS NOT NULL)
               THEN %(each_failing)s ELSE %(each)s END - (
               SELECT count(*) FROM chat_delivery b
                WHERE b.state = 'pending' AND b.destination = w.destination
                  AND b.locked_until > now()))
      ) due
     ORDER BY due.next_attempt_at LIMIT %(most)s
)
UPDATE chat_delivery
   SET attempts = attempts + 1,
       locked_until = now() + make_interval(secs => %(lease_seconds)s)
  FROM chosen WHERE chat_delivery.id = chosen.id
RETURNING chat_delivery.id, chat_delivery.locked_until
"""


_LARGE = ("task__messages", "task__params", "task__text", "task__reasoning", "task__tool_calls")


def claim(most: int) -> Sequence[Delivery]:
    """Take up to `most` due deliveries, the longest due first, each with all it takes to send it.

    Their `locked_until` is the claim: an outcome is noted only while the row still has it.
    """
    with transaction.atomic():
        fetch_all("SELECT pg_advisory_xact_lock(%s)", [_ADVISORY_LOCK])
        claimed: dict[UUID, datetime] = dict(fetch_all(_CLAIM, {**_LIMITS, "most": most}))
    if not claimed:
        return []
    related = ("owner", "endpoint", "task__model", "task__scene")
    rows = Delivery.objects.select_related(*related).defer(*_LARGE)
    # An answer may be megabytes; a message has no more of it than this.
    rows = rows.annotate(text=Left("task__text", MAX_BODY_BYTES + 1)).filter(pk__in=claimed)
    # Whoever claimed it again since is the one to send it.
    deliveries = [row for row in rows if row.locked_until == claimed[row.pk]]
    for delivery in deliveries:
        if delivery.task is not None:
            delivery.task.text = vars(delivery)["text"]
    return deliveries
