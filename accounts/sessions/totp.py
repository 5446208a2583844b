"""The second factor: codes of an authenticator app (TOTP, RFC 6238), and recovery codes.

All state is in rows, under a lock: a code is accepted once, and parallel guesses wait for each
other's pause.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import secrets
import time
from collections.abc import Container
from urllib.parse import quote, urlencode

from auditlog.models import LogEntry
from django.conf import settings
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _
from django_otp.oath import TOTP

from accounts.models import RecoveryCode, TOTPDevice, User
from aily.problems import retry_after
from aily.secrets.encryption import UnreadableSecretError, decrypt, encrypt

logger = logging.getLogger(__name__)

#: Key in a session: how the second factor was given ("totp", or "provider" if that asked for one).
SESSION_MARK = "second_factor"
PURPOSE = "accounts.sessions.totp"
RECOVERY_CODES = 10
DIGITS = 6
#: How many steps of 30 s a clock may be off.
TOLERANCE = 1


class CodeRefusedError(Exception):
    """The code was not accepted. The message is shown to the user."""


# --- Who needs one --------------------------------------------------------------------------------
def lacks_second_factor(user: User, session: Container[str]) -> bool:
    """Return whether the user must give a second factor before this session may do anything.

    No query.
    """
    is_required = user.has_totp or (settings.STAFF_TOTP_REQUIRED and user.is_staff)
    return is_required and SESSION_MARK not in session


# --- Setting up and removing ----------------------------------------------------------------------
def new_secret() -> str:
    """20 random bytes, as RFC 4226 recommends, in the Base32 that people type into apps."""
    return base64.b32encode(secrets.token_bytes(20)).decode()


def provisioning_uri(user: User, secret: str, host: str) -> str:
    """Return the URI in the QR code. In the app, the host tells installations apart."""
    issuer = f"aily {host.partition(':')[0]}"
    query = urlencode({"secret": secret, "issuer": issuer}, quote_via=quote)
    return f"otpauth://totp/{quote(f'{issuer}:{user.get_username()}')}?{query}"


def enrol(user: User, secret: str, code: str) -> list[str]:
    """Require codes of `user` from now on. Ends their sessions. Returns the recovery codes.

    Raises CodeRefusedError if the code does not match the secret.
    """
    step = _matching_step(secret, _normalised(code), after=-1)
    if step is None:
        raise CodeRefusedError(_("This code is wrong. Is the clock of your device right?"))
    with transaction.atomic():
        if User.objects.select_for_update().get(pk=user.pk).has_totp:
            raise CodeRefusedError(_("An authenticator is set up already."))
        TOTPDevice.objects.create(user=user, secret=encrypt(secret, PURPOSE), last_step=step)
        codes = _new_recovery_codes(user)
        _note_change(user, has_totp=True)
    return codes


def remove(user: User) -> bool:
    """Require no codes of `user` any more. Ends their sessions. Returns False if none were."""
    with transaction.atomic():
        if not User.objects.select_for_update().get(pk=user.pk).has_totp:
            return False
        TOTPDevice.objects.filter(user=user).delete()
        RecoveryCode.objects.filter(user=user).delete()
        _note_change(user, has_totp=False)
    return True


def renew_recovery_codes(user: User) -> list[str]:
    """Replace the recovery codes of `user`. Returns the new ones."""
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
    """Accept a code of the app or a recovery code, once. Raises CodeRefusedError.

    Wrong codes sent from elsewhere pause the account, but not for a browser that its owner has
    logged in with before: otherwise an attacker who knows the password could lock the owner out.
    Such a browser has a limit of its own (accounts/sessions/throttle.py).
    """
    with transaction.atomic():
        # Parallel attempts for this user wait here, then for the pause that this one causes.
        device = TOTPDevice.objects.select_for_update().filter(user=user).first()
        refusal = (
            _("No authenticator is set up.")
            if device is None
            else _try_code(device, _normalised(code), is_known_device)
        )
    if refusal:
        raise CodeRefusedError(refusal)


def _try_code(device: TOTPDevice, code: str, is_known_device: bool) -> str:
    """Return why the code is refused; empty if it is accepted."""
    is_allowed, pause = device.verify_is_allowed()
    if not is_allowed and not is_known_device:
        seconds = retry_after((pause["locked_until"] - timezone.now()).total_seconds())
        return _("Too many wrong codes. Try again in %(seconds)d s.") % {"seconds": seconds}
    if _use_code(device, code):
        device.throttle_reset(commit=True)
        return ""
    failures = device.throttling_failure_count
    device.throttle_increment(commit=True)
    logger.warning("wrong second factor for user %d", device.user_id)
    _log(device.user, {"wrong_codes": (str(failures), str(device.throttling_failure_count))})
    return _("This code is wrong, or was used already.")


def _use_code(device: TOTPDevice, code: str) -> bool:
    """Return whether the code is right; if so it cannot be used again."""
    if len(code) != DIGITS:
        used, _ = RecoveryCode.objects.filter(user=device.user, digest=_digest(code)).delete()
        if used:
            left = RecoveryCode.objects.filter(user=device.user).count()
            _log(device.user, {"recovery_codes": (str(left + 1), str(left))})
        return bool(used)
    try:
        secret = decrypt(device.secret, PURPOSE)
    except UnreadableSecretError:
        # Recovery codes still work.
        logger.exception("the TOTP secret of user %d cannot be read", device.user_id)
        return False
    step = _matching_step(secret, code, after=device.last_step)
    if step is None:
        return False
    device.last_step = step
    return True


def _matching_step(secret: str, code: str, after: int) -> int | None:
    """Return the current time step, later than `after`, that the code is for, else None."""
    if len(code) != DIGITS or not (code.isascii() and code.isdigit()):
        return None
    totp = TOTP(base64.b32decode(secret), digits=DIGITS)
    totp.time = time.time()
    is_right = totp.verify(int(code), tolerance=TOLERANCE, min_t=after + 1)
    return totp.t() if is_right else None


def _normalised(code: str) -> str:
    """Return the code without spaces and hyphens, in capital letters."""
    return "".join(code.split()).replace("-", "").upper()


def _digest(code: str) -> str:
    return hashlib.sha256(code.encode()).hexdigest()


def _log(user: User, changes: dict[str, tuple[str, str]]) -> None:
    LogEntry.objects.log_create(user, action=LogEntry.Action.UPDATE, changes=changes)
