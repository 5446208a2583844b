"""The secrets of webhook endpoints, and the signatures made with them (Standard Webhooks)."""

from __future__ import annotations

import base64
import secrets
from datetime import datetime

from standardwebhooks import Webhook

from aily.secrets import encryption
from chat.models import WebhookEndpoint

SECRET_PREFIX = "whsec_"  # noqa: S105 - the prefix of every secret
#: The most that HMAC-SHA256 uses.
SECRET_BYTES = 32
_PURPOSE = "chat.delivery.signing"


def new_secret() -> str:
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def encrypt(secret: str) -> str:
    return encryption.encrypt(secret, _PURPOSE)


def decrypt(token: str) -> str:
    """Raises UnreadableSecretError."""
    return encryption.decrypt(token, _PURPOSE)


def valid_secrets(endpoint: WebhookEndpoint, now: datetime) -> list[str]:
    """The endpoint's secret, then the one it replaced, as long as that is valid.

    Raises UnreadableSecretError.
    """
    found = [decrypt(endpoint.secret)]
    expires_at = endpoint.previous_secret_expires_at
    if endpoint.previous_secret and expires_at is not None and expires_at > now:
        found.append(decrypt(endpoint.previous_secret))
    return found


def headers(message_id: str, now: datetime, body: str, secrets: list[str]) -> dict[str, str]:
    """Headers that prove to the receiver that aily sent `body`, and when. `now` is in UTC."""
    signatures = (Webhook(secret).sign(message_id, now, body) for secret in secrets)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(signatures),
    }
