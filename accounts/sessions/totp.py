"""The second factor: codes of an authenticator app (TOTP, RFC 6238), and recovery codes.

Everything that decides stands in rows, under a lock: a code that was taken is never taken again,
and parallel guesses wait for each other's pause.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import secrets
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

from auditlog.models import LogEntry
from django.conf import settings
from django.db import transaction
from django.utils import timezone
from django_otp.oath import TOTP

from accounts.models import RecoveryCode, TOTPDevice, User
from aily.problems import retry_after
from aily.secrets.encryption import UnreadableSecretError, decrypt, encrypt

logger = logging.getLogger(__name__)

#: In a session: the second factor was given, or is known to be somebody else's business.
SESSION_MARK = "second_factor"
PURPOSE = "accounts.sessions.totp"
RECOVERY_CODES = 10
DIGITS = 6
#: How many steps of 30 s a clock may be off.
TOLERANCE = 1


class CodeRefusedError(Exception):
    """The message is for whoever sent the code."""


# --- Who has to give one --------------------------------------------------------------------------
def lacks_second_factor(user: User, session: Mapping[str, Any]) -> bool:
    """Whether this session of theirs may do nothing yet. No query."""
    is_asked_for = user.has_totp or (settings.STAFF_TOTP_REQUIRED and user.is_staff)
    return is_asked_for and SESSION_MARK not in session


# --- Setting up and taking away -------------------------------------------------------------------
def new_secret() -> str:
    """20 random bytes, as RFC 4226 recommends, in the Base32 that people type into apps."""
    return base64.b32encode(secrets.token_bytes(20)).decode()


def provisioning_uri(user: User, secret: str, host: str) -> str:
    """What the QR code says. The host tells several installations apart in the app."""
    issuer = f"aily {host.partition(':')[0]}"
    query = urlencode({"secret": secret, "issuer": issuer}, quote_via=quote)
    return f"otpauth://totp/{quote(f'{issuer}:{user.get_username()}')}?{query}"


def enrol(user: User, secret: str, code: str) -> list[str]:
    """Have `user` give codes from now on. Ends their sessions. Returns the recovery codes.

    Raises CodeRefusedError when the app's code is not of this secret.
    """
    step = _step_of(secret, _plain(code), after=-1)
    if step is None:
        raise CodeRefusedError("This code does not fit. Is the clock of your device right?")
    with transaction.atomic():
        if User.objects.select_for_update().get(pk=user.pk).has_totp:
            raise CodeRefusedError("An authenticator is set up already.")
        TOTPDevice.objects.create(user=user, secret=encrypt(secret, PURPOSE), last_step=step)
        codes = _new_recovery_codes(user)
        _note_change(user, has_totp=True)
    return codes


def remove(user: User) -> bool:
    """Ask `user` for no code any more. Ends their sessions. False: they had none set up."""
    with transaction.atomic():
        if not User.objects.select_for_update().get(pk=user.pk).has_totp:
            return False
        TOTPDevice.objects.filter(user=user).delete()
        RecoveryCode.objects.filter(user=user).delete()
        _note_change(user, has_totp=False)
    return True


def renew_recovery_codes(user: User) -> list[str]:
    with transaction.atomic():
        codes = _new_recovery_codes(user)
        _log(user, {"recovery_codes": ("", "renewed")})
    return codes


def _new_recovery_codes(user: User) -> list[str]:
    codes = [base64.b32encode(secrets.token_bytes(10)).decode() for _ in range(RECOVERY_CODES)]
    RecoveryCode.objects.filter(user=user).delete()
    RecoveryCode.objects.bulk_create(
        RecoveryCode(user=user, digest=_digest(code)) for code in codes
    )
    return ["-".join(code[i : i + 4] for i in range(0, len(code), 4)) for code in codes]


def _note_change(user: User, *, has_totp: bool) -> None:
    user.has_totp = has_totp
    user.totp_changed_at = timezone.now()
    user.save(update_fields=["has_totp", "totp_changed_at"])
    user.end_sessions()


# --- Codes ----------------------------------------------------------------------------------------
def check_code(user: User, code: str, *, is_known_device: bool = False) -> None:
    """Take a code of the app or a recovery code, once. Raises CodeRefusedError.

    A browser that its owner has logged in with before is not held up by the pause that others have
    earned: who knows the password could else lock the owner out. It has a bound of its own
    (accounts/sessions/throttle.py).
    """
    with transaction.atomic():
        # Whoever else tries for this user waits here, and then for the pause that this one earns.
        device = TOTPDevice.objects.select_for_update().filter(user=user).first()
        refusal = (
            "No authenticator is set up."
            if device is None
            else _take(device, _plain(code), is_known_device)
        )
    if refusal:
        raise CodeRefusedError(refusal)


def _take(device: TOTPDevice, code: str, is_known_device: bool) -> str:
    """Why the code is refused; empty: it is taken."""
    is_allowed, why = device.verify_is_allowed()
    if not is_allowed and not is_known_device:
        seconds = (why["locked_until"] - timezone.now()).total_seconds()
        return f"Too many wrong codes. Try again in {retry_after(seconds)} s."
    if _is_right(device, code):
        device.throttle_reset(commit=True)
        return ""
    failures = device.throttling_failure_count
    device.throttle_increment(commit=True)
    logger.warning("wrong second factor for user %d", device.user_id)
    _log(device.user, {"wrong_codes": (str(failures), str(device.throttling_failure_count))})
    return "This code is wrong, or was used already."


def _is_right(device: TOTPDevice, code: str) -> bool:
    if len(code) != DIGITS:
        used, _ = RecoveryCode.objects.filter(user=device.user, digest=_digest(code)).delete()
        if used:
            left = RecoveryCode.objects.filter(user=device.user).count()
            _log(device.user, {"recovery_codes": (str(left + 1), str(left))})
        return bool(used)
    try:
        secret = decrypt(device.secret, PURPOSE)
    except UnreadableSecretError:
        # Their recovery codes work still.
        logger.exception("the TOTP secret of user %d cannot be read", device.user_id)
        return False
    step = _step_of(secret, code, after=device.last_step)
    if step is None:
        return False
    device.last_step = step
    return True


def _step_of(secret: str, code: str, after: int) -> int | None:
    """Which step after that one the code is of, if it is one of now."""
    if len(code) != DIGITS or not (code.isascii() and code.isdigit()):
        return None
    totp = TOTP(base64.b32decode(secret), digits=DIGITS)
    totp.time = time.time()
    is_right = totp.verify(int(code), tolerance=TOLERANCE, min_t=after + 1)
    return totp.t() if is_right else None


def _plain(code: str) -> str:
    """As people write it: with spaces and hyphens, in small letters."""
    return "".join(code.split()).replace("-", "").upper()


def _digest(code: str) -> str:
    return hashlib.sha256(code.encode()).hexdigest()


def _log(user: User, changes: dict[str, tuple[str, str]]) -> None:
    LogEntry.objects.log_create(user, action=LogEntry.Action.UPDATE, changes=changes)
