"""The secrets of webhook endpoints, and the signatures made with them (Standard Webhooks)."""

from __future__ import annotations

import base64
import secrets
from datetime import datetime

from standardwebhooks import Webhook

from aily.secrets import encryption
from chat.models import WebhookEndpoint

SECRET_MARK = "whsec_"  # noqa: S105 - how every secret begins
#: As many as HMAC-SHA256 can use.
SECRET_BYTES = 32
_PURPOSE = "chat.delivery.signing"


def new_secret() -> str:
    return SECRET_MARK + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def encrypt(secret: str) -> str:
    return encryption.encrypt(secret, _PURPOSE)


def decrypt(token: str) -> str:
    """Raises UnreadableSecretError."""
    return encryption.decrypt(token, _PURPOSE)


def valid_secrets(endpoint: WebhookEndpoint, now: datetime) -> list[str]:
    """The endpoint's secret, then the one it replaced while that is valid still.

    Raises UnreadableSecretError.
    """
    found = [decrypt(endpoint.secret)]
    expires_at = endpoint.previous_secret_expires_at
    if endpoint.previous_secret and expires_at is not None and expires_at > now:
        found.append(decrypt(endpoint.previous_secret))
    return found


def headers(message_id: str, now: datetime, body: str, secrets: list[str]) -> dict[str, str]:
    """What proves to the receiver who sent `body`, and when. `now` is in UTC."""
    signatures = (Webhook(secret).sign(message_id, now, body) for secret in secrets)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(signatures),
    }
