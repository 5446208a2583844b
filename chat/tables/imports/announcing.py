"""Announces the end of an import: webhooks, stored in the transaction that ends it."""

from __future__ import annotations

from django.utils import timezone

from chat.models import Delivery, WebhookEndpoint
from chat.tables.models import Import

EVENT = "import.finished"


def create_webhooks(job: Import) -> None:
    """Insert a delivery for each of the owner's endpoints that wants the event."""
    active = WebhookEndpoint.objects.filter(
        owner=job.owner_id, is_active=True, only_named=False, events__contains=[EVENT]
    )
    now = timezone.now()
    # An import that failed may be started once more, and ends again.
    turn = f"{job.ended_at or now:%Y%m%d%H%M%S%f}"
    Delivery.objects.bulk_create(
        [
            Delivery(
                owner_id=job.owner_id,
                kind=Delivery.Kind.WEBHOOK,
                endpoint=endpoint,
                event=EVENT,
                data=_data(job),
                key=f"{EVENT}:{job.pk.hex}:{endpoint.pk}:{turn}",
                next_attempt_at=now,
            )
            for endpoint in active
        ],
        ignore_conflicts=True,
    )


def _data(job: Import) -> dict[str, object]:
    return {
        "import_id": str(job.pk),
        "table_id": job.table_id,
        "file_name": job.file_name,
        "state": job.state,
        "reason": job.reason or None,
        "message": job.message or None,
        "rows": {
            "total": job.total,
            "created": job.created_rows,
            "updated": job.updated_rows,
            "skipped": job.skipped_rows,
            "bad": job.bad_rows,
        },
    }
