"""Browsers that the account's owner has logged in with before, known by a signed cookie.

Locking an account would lock out its owner. So attempts from each known browser are counted by
themselves: attacks on the account do not affect them (OWASP's "device cookies"). The cookie alone
grants no access.
"""

from __future__ import annotations

import secrets
from datetime import timedelta

from django.conf import settings
from django.core import signing
from django.http import HttpRequest, HttpResponse
from django.urls import reverse

COOKIE = "aily_device"
_SALT = "accounts.sessions.devices"
#: A browser is known for at most this many accounts: those that logged in last.
MAX_ACCOUNTS = 5


def known_device(request: HttpRequest, account: str) -> str | None:
    """Return the name of this browser if it has logged in to the account before, else None."""
    return dict(_read(request)).get(account)


def remember_device(request: HttpRequest, response: HttpResponse, account: str) -> None:
    """Set the cookie by which this browser is known for the account."""
    known = dict(_read(request))
    name = known.pop(account, None) or secrets.token_hex(8)
    pairs = [(account, name), *known.items()][:MAX_ACCOUNTS]
    response.set_cookie(
        COOKIE,
        signing.TimestampSigner(salt=_SALT).sign_object(pairs),
        max_age=_lifetime(),
        path=reverse("login"),
        secure=settings.HTTPS,
        httponly=True,
        samesite="Lax",
    )


def _read(request: HttpRequest) -> list[tuple[str, str]]:
    try:
        pairs = signing.TimestampSigner(salt=_SALT).unsign_object(
            request.COOKIES.get(COOKIE, ""), max_age=_lifetime()
        )
    except signing.BadSignature:
        return []
    return [(account, name) for account, name in pairs]


def _lifetime() -> timedelta:
    return timedelta(days=settings.LOGIN_DEVICE_DAYS)
