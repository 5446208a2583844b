"""What users may do with their webhook endpoints."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from datetime import timedelta

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.models import User
from accounts.owner_lock import lock_owner
from aily.cache import KnownRows, keys
from aily.problems import Conflict, InvalidRequest
from aily.redis.errors import RedisUnavailable
from chat import actors
from chat.delivery import outcomes, signing
from chat.delivery.addresses import UnsafeURLError, check_url
from chat.exceptions import because
from chat.models import Delivery, WebhookEndpoint
from chat.models.delivery import TEST_EVENT
from chat.reasons import Reason

logger = logging.getLogger(__name__)

MAX_ENDPOINTS = 20
ENDPOINT_IDS: KnownRows[int] = KnownRows(
    keys.ENDPOINT_IDS, WebhookEndpoint, int, name="pk", owner="owner_id"
)
#: How long a replaced secret goes on signing beside the new one.
OVERLAP = timedelta(hours=24)


async def require_safe(url: str) -> None:
    """Raise InvalidRequest where no webhook may go. Looks the URL's name up."""
    try:
        await check_url(url)
    except UnsafeURLError as error:
        raise because(InvalidRequest, error.reason, field="url") from error


def endpoints_of(owners: Iterable[int]) -> dict[int, list[WebhookEndpoint]]:
    """The endpoints of these users, the oldest first; no query for no user."""
    found: dict[int, list[WebhookEndpoint]] = {}
    if wanted := set(owners):
        rows = WebhookEndpoint.objects.filter(owner__in=wanted)
        for endpoint in rows.only("owner", "url", "is_active").order_by("pk"):
            found.setdefault(endpoint.owner_id, []).append(endpoint)
    return found


def create_endpoint(owner: User, fields: Mapping[str, object]) -> tuple[WebhookEndpoint, str]:
    """Make an endpoint. Returns it with its secret, which is shown this once. Raises Conflict."""
    secret = signing.new_secret()
    with transaction.atomic():
        lock_owner(owner.pk)
        if WebhookEndpoint.objects.filter(owner=owner).count() >= MAX_ENDPOINTS:
            raise because(Conflict, Reason.of("endpoints_full", limit=MAX_ENDPOINTS))
        endpoint = WebhookEndpoint.objects.create(
            owner=owner, secret=signing.encrypt(secret), **fields
        )
    return endpoint, secret


def change_endpoint(endpoint: WebhookEndpoint, fields: Mapping[str, object]) -> None:
    """Change what the owner may change. Made active again, its failures are forgotten."""
    for name, value in fields.items():
        setattr(endpoint, name, value)
    changed = list(fields)
    if fields.get("is_active"):
        endpoint.disabled_at = endpoint.failing_since = None
        endpoint.disabled_reason = ""
        changed += ["disabled_at", "failing_since", "disabled_reason"]
    elif "is_active" in fields:
        endpoint.disabled_at = endpoint.disabled_at or timezone.now()
        endpoint.disabled_reason = endpoint.disabled_reason or str(outcomes.BY_OWNER)
        changed += ["disabled_at", "disabled_reason"]
    endpoint.save(update_fields=changed)


def rotate_secret(endpoint_id: int) -> tuple[WebhookEndpoint, str]:
    """Give an endpoint a new secret; the old one stays valid beside it for OVERLAP."""
    secret = signing.new_secret()
    with transaction.atomic():
        endpoint = WebhookEndpoint.objects.select_for_update(no_key=True).get(pk=endpoint_id)
        endpoint.previous_secret = endpoint.secret
        endpoint.previous_secret_expires_at = timezone.now() + OVERLAP
        endpoint.secret = signing.encrypt(secret)
        endpoint.save(update_fields=["secret", "previous_secret", "previous_secret_expires_at"])
    return endpoint, secret


def send_test(endpoint: WebhookEndpoint) -> Delivery:
    """Send an endpoint a test event. Raises Conflict while one is on its way, or it is disabled."""
    _require_active(endpoint)
    delivery, is_new = Delivery.objects.get_or_create(
        endpoint=endpoint,
        event=TEST_EVENT,
        state=Delivery.State.PENDING,
        defaults={
            "owner_id": endpoint.owner_id,
            "kind": Delivery.Kind.WEBHOOK,
            "data": {"endpoint_id": endpoint.pk},
            "next_attempt_at": timezone.now(),
        },
    )
    if not is_new:
        raise Conflict(_("A test event is on its way already."))
    _ring()
    return delivery


def redeliver(delivery: Delivery) -> Delivery:
    """Send a delivery again under the same id, with all its attempts before it. Raises Conflict."""
    if delivery.endpoint is not None:
        _require_active(delivery.endpoint)
    changed = (
        Delivery.objects.filter(pk=delivery.pk)
        .exclude(state=Delivery.State.PENDING)
        .update(
            state=Delivery.State.PENDING,
            attempts=0,
            next_attempt_at=timezone.now(),
            locked_until=None,
            response_status=None,
            error="",
            delivered_at=None,
        )
    )
    if not changed:
        raise Conflict(_("This delivery is on its way already."))
    delivery.refresh_from_db()
    _ring()
    return delivery


def _require_active(endpoint: WebhookEndpoint) -> None:
    if not endpoint.is_active:
        raise because(Conflict, Reason("activate_endpoint"))


def _ring() -> None:
    try:
        actors.deliver.send()
    except RedisUnavailable as error:
        logger.warning("a delivery is due, but Redis is away: %s", error)
