"""Secrets that aily must be able to read again, encrypted for storing.

The keys are made from SECRET_KEY, another one for each purpose. What a key of SECRET_KEY_FALLBACKS
encrypted is still read.
"""

from __future__ import annotations

import base64

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.utils.crypto import salted_hmac


class UnreadableSecretError(Exception):
    """SECRET_KEY is no longer the one that a stored secret was encrypted with."""


def encrypt(secret: str, purpose: str) -> str:
    return _cipher(purpose).encrypt(secret.encode()).decode()


def decrypt(token: str, purpose: str) -> str:
    """Raises UnreadableSecretError."""
    try:
        return _cipher(purpose).decrypt(token).decode()
    except InvalidToken as error:
        raise UnreadableSecretError from error


def _cipher(purpose: str) -> MultiFernet:
    keys = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    digests = (salted_hmac(purpose, "", secret=key, algorithm="sha256").digest() for key in keys)
    return MultiFernet([Fernet(base64.urlsafe_b64encode(digest)) for digest in digests])
