"""Announces runs: webhooks at the end or a pause, and notices for followers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from uuid import UUID

from aily.concurrency.faults import note_fault
from aily.redis.clients import sync_redis
from aily.redis.errors import RedisUnavailable
from aily.rest.decimals import decimal_text
from chat.delivery import outbox
from chat.eventlog.keys import run_channel
from chat.eventlog.notices import Notice, encode_notice
from chat.models import Run, RunState, WebhookEndpoint

#: The event of a run, by the state that it has come to.
EVENT_OF: dict[str, str] = {
    RunState.DONE: "run.completed",
    RunState.FAILED: "run.failed",
    RunState.CANCELLED: "run.cancelled",
    RunState.EXPIRED: "run.expired",
    RunState.PAUSED: "run.paused",
}


def create_webhooks(run: Run, event: str, data: Mapping[str, object] | None = None) -> None:
    """Insert a delivery for each endpoint that wants the event: those that name it among their
    events, and the one that the run names. Once for each time that the run comes to this state.

    `data`: of the webhooks; None: `data_of`.
    """
    active = WebhookEndpoint.objects.filter(owner=run.owner_id, is_active=True)
    wanting = [
        endpoint
        for endpoint in active
        if endpoint.pk == run.webhook_id or (event in endpoint.events and not endpoint.only_named)
    ]
    sent = data_of(run) if data is None else data
    outbox.create_webhooks(wanting, event, sent, run.pk, run.ended_at)


def data_of(run: Run) -> dict[str, object]:
    """The data of a run in a webhook."""
    return {
        "run_id": str(run.pk),
        "name": run.name,
        "state": run.state,
        "reason": run.reason or None,
        "message": run.message or None,
        "params": run.reason_params,
        "metadata": run.options.get("metadata", {}),
        "counts": {
            name: getattr(run, name)
            for name in (
                *("total", "succeeded", "failed", "cancelled", "expired", "invalid", "skipped"),
            )
        },
        "prompt_tokens": run.prompt_tokens,
        "completion_tokens": run.completion_tokens,
        "cost": decimal_text(run.cost),
        "currency": run.currency or None,
    }


def publish(run_ids: Iterable[UUID]) -> None:
    """Wake the followers of these runs. Raises nothing: they also read by themselves."""
    try:
        with sync_redis().pipeline(transaction=False) as pipe:
            for run_id in run_ids:
                pipe.publish(
                    run_channel(str(run_id)), encode_notice(Notice(None, str(run_id), b""))
                )
            pipe.execute()
    except RedisUnavailable:
        return
    except Exception:  # noqa: BLE001 - logged; a notice is no more than a hint
        note_fault("announcing runs")
