"""Stored secrets: read again with the key that they were encrypted with, and with no other."""

from __future__ import annotations

import pytest
from pytest_django import Settings

from aily.secrets.encryption import UnreadableSecretError, decrypt, encrypt

SECRET = "sk-ünïcode-🔑"
PURPOSE = "tests"


def test_a_secret_is_read_again_and_is_not_in_what_is_stored() -> None:
    token = encrypt(SECRET, PURPOSE)
    assert decrypt(token, PURPOSE) == SECRET
    assert SECRET not in token
    assert encrypt(SECRET, PURPOSE) != token, "equal secrets are not recognised"


def test_a_secret_of_another_purpose_is_not_read() -> None:
    token = encrypt(SECRET, PURPOSE)
    with pytest.raises(UnreadableSecretError):
        decrypt(token, "another purpose")


def test_after_the_key_was_rotated_the_old_secrets_are_read(settings: Settings) -> None:
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "old" * 20, []
    old = encrypt(SECRET, PURPOSE)
    settings.SECRET_KEY = "new" * 20
    with pytest.raises(UnreadableSecretError):
        decrypt(old, PURPOSE)
    settings.SECRET_KEY_FALLBACKS = ["old" * 20]
    assert decrypt(old, PURPOSE) == SECRET
    new = encrypt(SECRET, PURPOSE)
    settings.SECRET_KEY_FALLBACKS = []
    assert decrypt(new, PURPOSE) == SECRET, "what is written has the new key"


@pytest.mark.parametrize("token", ["", "nonsense", "gAAAAA=="])
def test_what_is_no_token_is_unreadable(token: str) -> None:
    with pytest.raises(UnreadableSecretError):
        decrypt(token, PURPOSE)
