"""Makes deliveries, in the transaction that settles a task or a budget."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Count
from django.utils import timezone

from chat.delivery.filters import Wants
from chat.models import Delivery, NotificationPreferences, WebhookEndpoint
from chat.models.delivery import BUDGET_EVENT, EVENT_OF, SUMMARY_EVENT
from chat.models.ended import EndedTask


def create_webhooks(
    endpoints: Sequence[WebhookEndpoint],
    event: str,
    data: Mapping[str, object],
    subject: UUID,
    ended_at: datetime | None,
) -> None:
    """Insert a delivery of an event to each endpoint, in the caller's transaction.

    Once for each end of the subject, which may be retried and end once more.
    """
    now = timezone.now()
    turn = f"{ended_at or now:%Y%m%d%H%M%S%f}"
    Delivery.objects.bulk_create(
        [
            Delivery(
                owner_id=endpoint.owner_id,
                kind=Delivery.Kind.WEBHOOK,
                endpoint=endpoint,
                event=event,
                data=dict(data),
                key=f"{event}:{subject.hex}:{endpoint.pk}:{turn}",
                next_attempt_at=now,
            )
            for endpoint in endpoints
        ],
        ignore_conflicts=True,
    )


def create_deliveries(tasks: Sequence[EndedTask]) -> int:
    """Insert the deliveries for ended tasks, in the caller's transaction. Returns how many.

    Called again for the same tasks it adds none, but a summary counts them again.
    """
    if not tasks:
        return 0
    deliveries = [*_webhooks(tasks), *_mails(tasks)]
    Delivery.objects.bulk_create(deliveries, ignore_conflicts=True)
    return len(deliveries)


def _webhooks(tasks: Sequence[EndedTask]) -> list[Delivery]:
    owners = {task.owner_id for task in tasks}
    active = WebhookEndpoint.objects.filter(owner__in=owners, owner__is_active=True, is_active=True)
    endpoints: defaultdict[int, list[WebhookEndpoint]] = defaultdict(list)
    for endpoint in active:
        endpoints[endpoint.owner_id].append(endpoint)
    wants = Wants.of_endpoints(active)
    now = timezone.now()
    return [
        Delivery(
            owner_id=task.owner_id,
            kind=Delivery.Kind.WEBHOOK,
            endpoint=endpoint,
            task_id=task.id,
            event=EVENT_OF[task.status],
            next_attempt_at=now,
        )
        for task in tasks
        for endpoint in endpoints[task.owner_id]
        if wants.task(endpoint, task)
    ]


# --- E-mail -------------------------------------------------------------------------------------
def _mails(tasks: Sequence[EndedTask]) -> list[Delivery]:
    preferences = _lock_preferences({task.owner_id for task in tasks})
    wanted = [
        task
        for task in tasks
        if task.owner_id in preferences and preferences[task.owner_id].wants(EVENT_OF[task.status])
    ]
    mails = [_mail(task.owner_id, EVENT_OF[task.status], task_id=task.id) for task in wanted]
    return _within_limit(mails)


def _lock_preferences(owners: Collection[int]) -> dict[int, NotificationPreferences]:
    """Lock the preferences of users that can be mailed: one transaction at a time counts the mails
    of an hour."""
    rows = (
        NotificationPreferences.objects.select_for_update(of=("self",))
        .filter(user__in=owners, user__is_active=True)
        .exclude(user__email="")
        .order_by("pk")
    )
    return {row.pk: row for row in rows}


def _mail(owner_id: int, event: str, **fields: Any) -> Delivery:
    return Delivery(
        owner_id=owner_id,
        kind=Delivery.Kind.EMAIL,
        event=event,
        next_attempt_at=timezone.now(),
        **fields,
    )


def _within_limit(mails: Sequence[Delivery]) -> list[Delivery]:
    """Keep EMAIL_MAX_PER_HOUR for each user, and count the others in one summary."""
    made = _mails_of_last_hour({mail.owner_id for mail in mails}) if mails else Counter()
    kept: list[Delivery] = []
    beyond: defaultdict[int, Counter[str]] = defaultdict(Counter)
    for mail in mails:
        made[mail.owner_id] += 1
        mail.data["is_last_of_hour"] = made[mail.owner_id] == settings.EMAIL_MAX_PER_HOUR
        if made[mail.owner_id] <= settings.EMAIL_MAX_PER_HOUR:
            kept.append(mail)
        else:
            beyond[mail.owner_id][mail.event] += 1
    for owner_id, events in beyond.items():
        _summarise(owner_id, events)
    return kept


def _summarise(owner_id: int, events: Counter[str]) -> None:
    """Add to the owner's pending summary, or insert one that is sent in an hour.

    The row's lock orders this and its claim: counts are added before it is sent, or to the next.
    """
    now = timezone.now()
    waiting = Delivery.objects.select_for_update().filter(
        owner=owner_id, event=SUMMARY_EVENT, state=Delivery.State.PENDING, attempts=0
    )
    summary = waiting.first()
    if summary is None:
        summary = _mail(owner_id, SUMMARY_EVENT, key=f"summary:{now.isoformat()}")
        summary.next_attempt_at = now + timedelta(hours=1)
    for event, count in events.items():
        summary.data[event] = summary.data.get(event, 0) + count
    summary.save()


def _mails_of_last_hour(owners: Collection[int]) -> Counter[int]:
    since = timezone.now() - timedelta(hours=1)
    recent = Delivery.objects.filter(
        kind=Delivery.Kind.EMAIL, owner__in=owners, task__isnull=False, created_at__gte=since
    )
    counts = recent.order_by().values_list("owner").annotate(Count("pk"))
    return Counter(dict(counts))


@transaction.atomic
def budget_near_end(owner_id: int, *, key: str, budget: str, spent: str, limit: str) -> bool:
    """Mail a user, if they want it, that a budget is near its end: once for each `key`.

    `key` names the budget and its period, at most 100 characters; `budget`, `spent` and `limit`
    are words for people, such as "4.20 USD". Returns whether a mail was made.
    """
    preferences = _lock_preferences([owner_id]).get(owner_id)
    if preferences is None or not preferences.email_on_budget_near_end:
        return False
    if Delivery.objects.filter(owner=owner_id, key=key).exists():
        return False
    data = {"budget": budget, "spent": spent, "limit": limit}
    _mail(owner_id, BUDGET_EVENT, key=key, data=data).save()
    return True
