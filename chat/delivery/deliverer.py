"""Sends due deliveries, many at once, on the worker's event loop.

Waiting for a receiver costs a coroutine: no thread, no database connection.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from django.db import Error as DatabaseError

from aily.concurrency.batching import Batcher
from aily.concurrency.faults import note_fault, surviving
from aily.concurrency.jobs import Jobs
from aily.database.errors import is_outage
from aily.database.threads import in_database
from aily.observability import tracing
from aily.secrets.encryption import UnreadableSecretError
from chat.delivery import claims, mail, outcomes, payloads, signing
from chat.delivery.addresses import UnsafeURLError
from chat.delivery.http import RequestFailedError, WebhookClient
from chat.delivery.outcomes import Outcome
from chat.llm.retry_after import parse_retry_after
from chat.models import Delivery
from chat.observability import metrics
from chat.observability.tracing import traceparent_of
from chat.reasons import Reason

logger = logging.getLogger(__name__)

#: Attempts at once in one process.
MAX_IN_FLIGHT = 500
#: How long a stopping process waits for attempts; an attempt that is cut off is made again when its
#: claim has ended.
STOP_SECONDS = 16
_INTERNAL_ERROR = str(Reason("aily_failed"))


class Deliverer:
    """Claims and sends deliveries: one for each process, on one event loop."""

    def __init__(self) -> None:
        self._client = WebhookClient(MAX_IN_FLIGHT)
        self._mailers = ThreadPoolExecutor(claims.MAX_MAILS, thread_name_prefix="mail")
        self._outcomes: Batcher[Outcome, bool] = Batcher(_store)
        # The end of one makes room for another, to the same destination or in this process.
        self._sending = Jobs("a delivery", on_done=self.wake)
        self._claiming = Jobs("claiming deliveries")
        self._is_woken = False
        self._is_stopping = False

    def wake(self) -> None:
        """Look for due deliveries. Call it on the event loop; repeated calls are cheap."""
        self._is_woken = True
        if not self._claiming and not self._is_stopping:
            self._claiming.spawn(self._claim())

    async def stop(self) -> None:
        """Claim nothing more, and let running attempts end within STOP_SECONDS."""
        self._is_stopping = True
        await self._claiming.wait()
        await self._sending.wait(STOP_SECONDS)
        self._sending.cancel()
        await self._sending.wait()
        await self._client.aclose()
        self._mailers.shutdown(wait=False, cancel_futures=True)

    # --- Claiming -------------------------------------------------------------------------------
    async def _claim(self) -> None:
        while self._is_woken and not self._is_stopping and len(self._sending) < MAX_IN_FLIGHT:
            self._is_woken = False
            try:
                deliveries = await in_database(claims.claim, MAX_IN_FLIGHT - len(self._sending))
            except DatabaseError as error:
                logger.warning("claiming deliveries: %s", error)
                return
            except Exception:  # noqa: BLE001 - logged; the next wake-up claims again
                note_fault("claiming deliveries")
                return
            for delivery in deliveries:
                self._sending.spawn(self._send(delivery))

    # --- Sending --------------------------------------------------------------------------------
    async def _send(self, delivery: Delivery) -> None:
        with metrics.delivery_seconds(delivery.kind).time():
            parent = await traceparent_of(str(delivery.task_id))
            with tracing.span(f"deliver {delivery.kind}", kind="producer", parent=parent):
                outcome = await self._attempt(delivery)
        with surviving("observing a delivery"):
            metrics.deliveries(delivery.kind, outcome.label()).inc()
        try:
            is_stored = await self._outcomes.submit(outcome)
        except DatabaseError as error:
            # Its claim ends, and it is sent again: at least once.
            logger.warning("delivery %s: the outcome is lost: %s", delivery.pk, error)
            return
        if not is_stored:
            logger.warning("delivery %s took longer than its claim", delivery.pk)

    async def _attempt(self, delivery: Delivery) -> Outcome:
        is_mail = delivery.kind == Delivery.Kind.EMAIL
        try:
            return await (self._send_mail(delivery) if is_mail else self._send_webhook(delivery))
        except Exception:
            # Without an outcome it would be retried for ever.
            logger.exception("delivery %s: the attempt failed", delivery.pk)
            return Outcome(delivery, is_delivered=False, error=_INTERNAL_ERROR)

    async def _send_webhook(self, delivery: Delivery) -> Outcome:
        endpoint = delivery.endpoint
        if endpoint is None or not endpoint.is_active:
            return _final(delivery, "endpoint_disabled")
        now = datetime.now(UTC)
        try:
            secrets = signing.valid_secrets(endpoint, now)
        except UnreadableSecretError:
            return _final(delivery, "endpoint_secret")
        body = payloads.body_of(delivery)
        headers = signing.headers(str(delivery.pk), now, body, secrets)
        try:
            response = await self._client.post(endpoint.url, body.encode(), headers)
        except (RequestFailedError, UnsafeURLError) as error:
            return Outcome(delivery, is_delivered=False, error=str(error))
        return _outcome_of(delivery, response.status, response.headers.get("retry-after", ""))

    async def _send_mail(self, delivery: Delivery) -> Outcome:
        if not delivery.owner.email:
            return _final(delivery, "no_address")
        message = mail.message_of(delivery)
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._mailers, mail.send, message)
        except OSError as error:
            reason = Reason.of("mail_not_sent", detail=f"{type(error).__name__}: {error}")
            return Outcome(delivery, is_delivered=False, error=str(reason))
        return Outcome(delivery, is_delivered=True)


def _final(delivery: Delivery, reason: str) -> Outcome:
    return Outcome(delivery, is_delivered=False, error=str(Reason(reason)), is_final=True)


def _outcome_of(delivery: Delivery, status: int, retry_after: str) -> Outcome:
    """The outcome by the response's status. A redirect is a failure: it could lead to an address
    that is not public."""
    is_delivered = 200 <= status < 300
    return Outcome(
        delivery,
        is_delivered=is_delivered,
        response_status=status,
        error="" if is_delivered else str(outcomes.answered(status)),
        retry_after_seconds=parse_retry_after(retry_after),
        is_final=status == outcomes.GONE,
    )


async def _store(batch: list[Outcome]) -> Sequence[bool | Exception]:
    """Store outcomes. One that cannot be stored keeps back no other: its error text is replaced."""
    try:
        return await in_database(outcomes.store_outcomes, batch)
    except Exception as error:
        if is_outage(error):
            raise
        note_fault("storing outcomes of deliveries")
    if len(batch) == 1:
        return await in_database(outcomes.store_outcomes, [_without_text(batch[0])])
    return [stored for outcome in batch for stored in await _store([outcome])]


def _without_text(outcome: Outcome) -> Outcome:
    error = "" if outcome.is_delivered else _INTERNAL_ERROR
    return Outcome(outcome.delivery, is_delivered=outcome.is_delivered, error=error)
