"""Encrypts secrets that are stored and that aily must read again.

Keys are derived from SECRET_KEY, one for each purpose. Secrets that were encrypted with a key of
SECRET_KEY_FALLBACKS can still be read.
"""

from __future__ import annotations

import base64

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.utils.crypto import salted_hmac


class UnreadableSecretError(Exception):
    """A stored secret was encrypted with a SECRET_KEY that is no longer known."""


def encrypt(secret: str, purpose: str) -> str:
    return _cipher(purpose).encrypt(secret.encode()).decode()


def decrypt(token: str, purpose: str) -> str:
    """Decrypt a stored secret. Raises UnreadableSecretError."""
    try:
        return _cipher(purpose).decrypt(token).decode()
    except InvalidToken as error:
        raise UnreadableSecretError from error


def _cipher(purpose: str) -> MultiFernet:
    keys = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    digests = (salted_hmac(purpose, "", secret=key, algorithm="sha256").digest() for key in keys)
    return MultiFernet([Fernet(base64.urlsafe_b64encode(digest)) for digest in digests])
