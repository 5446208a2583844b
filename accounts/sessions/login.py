"""Logging in: the one way in from every door, by password or by a login provider.

Who has a second factor is not logged in before it was given: until then the session holds only who
is on the way, and is nobody's for everything else.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.auth import login
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.utils.crypto import constant_time_compare

from accounts.login_models import LoginMethod as Method
from accounts.login_models import LoginOutcome as Outcome
from accounts.models import User
from accounts.sessions.devices import remember_device
from accounts.sessions.login_log import Origin, note_login
from accounts.sessions.throttle import account_name
from accounts.sessions.totp import SESSION_MARK, check_code, lacks_second_factor
from accounts.sessions.user_sessions import note_use_in_thread

BACKEND = "django.contrib.auth.backends.ModelBackend"
PENDING = "pending_login"
#: How long one may take to look up a code.
PENDING_SECONDS = 300


def begin_login(
    request: HttpRequest,
    user: User,
    next_url: str,
    *,
    method: Method = Method.PASSWORD,
    is_trusted: bool = False,
) -> HttpResponse:
    """Log `user` in, who has proved who they are, or ask for the second factor first.

    With `is_trusted` the login provider has asked for one.
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
    """Who is about to log in with this session: not yet its user."""
    pending = request.session.get(PENDING)
    if pending is None or time.time() > pending["until"]:
        return None
    user = User.objects.filter(pk=pending["user"], is_active=True, has_totp=True).first()
    # As a session ends with the password, so does the way to one.
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
    """For pages: who is not logged in is asked to, who lacks the second factor to set it up."""

    @login_required
    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if isinstance(request.user, User):
            if lacks_second_factor(request.user, request.session):
                return redirect("totp")
            note_use_in_thread(request.user.pk, request)
        return view(request, *args, **kwargs)

    return guarded
