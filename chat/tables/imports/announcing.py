"""Announces the end of an import: webhooks, stored in the transaction that ends it."""

from __future__ import annotations

from chat.delivery import outbox
from chat.models import WebhookEndpoint
from chat.tables.models import Import

EVENT = "import.finished"


def create_webhooks(job: Import) -> None:
    """Insert a delivery for each of the owner's endpoints that wants the event."""
    active = WebhookEndpoint.objects.filter(
        owner=job.owner_id, is_active=True, only_named=False, events__contains=[EVENT]
    )
    outbox.create_webhooks(list(active), EVENT, _data(job), job.pk, job.ended_at)


def _data(job: Import) -> dict[str, object]:
    return {
        "import_id": str(job.pk),
        "table_id": job.table_id,
        "file_name": job.file_name,
        "state": job.state,
        "reason": job.reason or None,
        "message": job.message or None,
        "params": job.reason_params,
        "rows": {
            "total": job.total,
            "created": job.created_rows,
            "updated": job.updated_rows,
            "skipped": job.skipped_rows,
            "bad": job.bad_rows,
        },
    }
