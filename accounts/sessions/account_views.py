"""Pages of the user's own account: second factor, password, sessions."""

from __future__ import annotations

import segno
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from accounts.models import RecoveryCode, TOTPDevice, User
from accounts.sessions import totp
from accounts.sessions.forms import CodeForm, EnrolForm, PasswordForm
from accounts.sessions.login import fully_logged_in
from accounts.sessions.passwords import change_password
from accounts.sessions.user_sessions import (
    describe,
    end_sessions,
    kept_session,
    other_sessions,
    sessions_of,
)
from aily.secrets.encryption import UnreadableSecretError, decrypt, encrypt

#: Key in a session: the secret that is being set up, encrypted.
_NEW_SECRET = "totp_secret"  # noqa: S105 - a name


# --- The user's own authenticator -----------------------------------------------------------------
@never_cache
@sensitive_post_parameters()
@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def authenticator(request: HttpRequest) -> HttpResponse:
    """Set up, change or remove an authenticator: for staff, and for users who have one."""
    user = request.user
    if not isinstance(user, User) or not (user.is_staff or user.has_totp):
        raise PermissionDenied
    if not user.has_totp:
        return _enrol(request, user)
    if totp.lacks_second_factor(user, request.session):
        raise PermissionDenied
    return _manage(request, user)


def _enrol(request: HttpRequest, user: User) -> HttpResponse:
    secret = _pending_secret(request)
    form = EnrolForm(request, user, request.POST or None)
    if form.is_valid():
        try:
            with kept_session(request, user):
                codes = totp.enrol(user, secret, form.cleaned_data["code"])
        except totp.CodeRefusedError as error:
            form.add_error("code", str(error))
        else:
            del request.session[_NEW_SECRET]
            request.session[totp.SESSION_MARK] = "totp"
            return render(request, "accounts/recovery_codes.html", {"codes": codes})
    uri = totp.provisioning_uri(user, secret, request.get_host())
    context = {
        "form": form,
        "qr_code": segno.make(uri, error="m").svg_data_uri(scale=5, border=3, light="#fff"),
        "secret": " ".join(secret[i : i + 4] for i in range(0, len(secret), 4)),
        "is_required": totp.lacks_second_factor(user, request.session),
    }
    return render(request, "accounts/totp_enrol.html", context)


def _pending_secret(request: HttpRequest) -> str:
    """Return the secret being set up: the same at each load, as an app may have it already."""
    try:
        return decrypt(request.session[_NEW_SECRET], totp.PURPOSE)
    except (KeyError, UnreadableSecretError):
        secret = totp.new_secret()
        request.session[_NEW_SECRET] = encrypt(secret, totp.PURPOSE)
        return secret


def _manage(request: HttpRequest, user: User) -> HttpResponse:
    action = request.POST.get("action")
    form = CodeForm(request.POST if action in ("renew", "remove") else None)
    if form.is_valid():
        try:
            totp.check_code(user, form.cleaned_data["code"])
        except totp.CodeRefusedError as error:
            form.add_error("code", str(error))
        else:
            return _renew(request, user) if action == "renew" else _remove(request, user)
    context = {
        "form": form,
        "since": TOTPDevice.objects.get(user=user).created_at,
        "codes_left": RecoveryCode.objects.filter(user=user).count(),
    }
    return render(request, "accounts/totp.html", context)


def _renew(request: HttpRequest, user: User) -> HttpResponse:
    codes = totp.renew_recovery_codes(user)
    return render(request, "accounts/recovery_codes.html", {"codes": codes})


def _remove(request: HttpRequest, user: User) -> HttpResponse:
    with kept_session(request, user):
        totp.remove(user)
    request.session.pop(totp.SESSION_MARK, None)
    return redirect("totp")


# --- Password and sessions ------------------------------------------------------------------------
@never_cache
@sensitive_post_parameters()
@require_http_methods(["GET", "HEAD", "POST"])
@fully_logged_in
def password(request: HttpRequest) -> HttpResponse:
    """Change the user's own password."""
    user = _own_user(request)
    if not user.has_usable_password():
        return render(request, "accounts/no_password.html")
    form = PasswordForm(request, user, request.POST or None)
    if form.is_valid():
        change_password(request, user, form.cleaned_data["new_password1"])
        messages.success(request, _("Your password was changed. Your other sessions have ended."))
        return redirect("account")
    return render(request, "accounts/password.html", {"form": form})


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@fully_logged_in
def account(request: HttpRequest) -> HttpResponse:
    """Show the user's sessions, and end them."""
    user = _own_user(request)
    if request.method == "POST":
        others = other_sessions(user, request)
        chosen = request.POST.get("session", "")
        ended = list(others if chosen == "others" else others.filter(pk=_as_id(chosen)))
        end_sessions(user.pk, ended)
        text = ngettext("%(count)d session ended.", "%(count)d sessions ended.", len(ended))
        messages.success(request, text % {"count": len(ended)})
        return redirect("account")
    here = request.session.session_key
    rows = [
        {"row": row, "device": describe(row.user_agent), "is_here": row.session_key == here}
        for row in sessions_of(user)
    ]
    return render(request, "accounts/account.html", {"sessions": rows})


def _as_id(text: str) -> int:
    """Return the id that the text is, or 0, which no row has."""
    is_id = text.isascii() and text.isdecimal() and len(text) < len(str(2**63))
    return int(text) if is_id else 0


def _own_user(request: HttpRequest) -> User:
    if not isinstance(request.user, User):
        raise PermissionDenied
    return request.user
