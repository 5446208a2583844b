"""Browsers that their owner has logged in with before, known by a signed cookie.

A lock of an account would lock out its owner as well. So each browser that has logged in to it is
counted by itself: what others try at the account is no business of its owner's (OWASP's "device
cookies"). The cookie lets nobody in.
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
#: How many accounts a browser is known for: those that logged in last.
MAX_ACCOUNTS = 5


def known_device(request: HttpRequest, account: str) -> str | None:
    """The name of this browser, if it has logged in to the account before."""
    return dict(_read(request)).get(account)


def remember_device(request: HttpRequest, response: HttpResponse, account: str) -> None:
    """Have the browser that gets `response` known for the account from now on."""
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
