"""Logging in, by password or by a login provider.

A user with a second factor is logged in once it was given. Until then the session only holds a
pending login, and is anonymous for everything else.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import wraps

from django.contrib.auth import login
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.utils.crypto import constant_time_compare
from django.utils.translation import get_language

from accounts.login_models import LoginMethod as Method
from accounts.login_models import LoginOutcome as Outcome
from accounts.models import User
from accounts.sessions.devices import remember_device
from accounts.sessions.login_log import Origin, note_login
from accounts.sessions.throttle import account_name
from accounts.sessions.totp import SESSION_MARK, check_code, lacks_second_factor
from accounts.sessions.user_sessions import note_use_in_thread

BACKEND = "django.contrib.auth.backends.ModelBackend"
#: Key in a session: the login that waits for a second factor.
PENDING = "pending_login"
#: How long a pending login is valid.
PENDING_SECONDS = 300


def begin_login(
    request: HttpRequest,
    user: User,
    next_url: str,
    *,
    method: Method = Method.PASSWORD,
    is_trusted: bool = False,
) -> HttpResponse:
    """Log in an authenticated `user`, or ask for the second factor first.

    `is_trusted`: the login provider has asked for one already.
    """
    if user.has_totp and not is_trusted:
        request.session.cycle_key()
        request.session[PENDING] = {
            "user": user.pk,
            "hash": user.get_session_auth_hash(),
            "until": time.time() + PENDING_SECONDS,
            "next": next_url,
        }
        return redirect("login_code")
    return _log_in(request, user, next_url, method, mark="provider" if is_trusted else "")


def _log_in(
    request: HttpRequest, user: User, next_url: str, method: Method, mark: str
) -> HttpResponse:
    login(request, user, BACKEND)
    if mark:
        request.session[SESSION_MARK] = mark
    note_login(Origin.of(request), method, Outcome.SUCCEEDED, user)
    response = redirect(next_url)
    remember_device(request, response, account_name(user.get_username()))
    return response


def pending_user(request: HttpRequest) -> User | None:
    """Return the user whose login is pending in this session, else None."""
    pending = request.session.get(PENDING)
    if pending is None or time.time() > pending["until"]:
        return None
    user = User.objects.filter(pk=pending["user"], is_active=True, has_totp=True).first()
    # A change of the password ends pending logins as it ends sessions.
    if user is None or not constant_time_compare(user.get_session_auth_hash(), pending["hash"]):
        return None
    return user


def complete_login(
    request: HttpRequest, user: User, code: str, *, is_known_device: bool = False
) -> HttpResponse:
    """Log the pending user in. Raises CodeRefusedError."""
    check_code(user, code, is_known_device=is_known_device)
    pending = request.session.pop(PENDING)
    return _log_in(request, user, pending["next"], Method.CODE, mark="totp")


def fully_logged_in(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponseBase]:
    """Decorate a page: redirects to the login, or to the second factor, where that is missing."""

    @login_required
    @wraps(view)
    def guarded(request: HttpRequest, *args: object, **kwargs: object) -> HttpResponseBase:
        if isinstance(request.user, User):
            if lacks_second_factor(request.user, request.session):
                return redirect("totp")
            note_use_in_thread(request.user.pk, request)
            _note_language(request.user)
        return view(request, *args, **kwargs)

    return guarded


def _note_language(user: User) -> None:
    """Keep the language of the page for the user's mails. A write only when it changes."""
    language = get_language() or ""
    if user.language != language:
        User.objects.filter(pk=user.pk).update(language=language)
