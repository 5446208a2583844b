"""Pages of logging in, and of the second factor."""

from __future__ import annotations

import segno
from django.contrib.auth import update_session_auth_hash, views
from django.contrib.auth.decorators import login_required
from django.contrib.auth.forms import AuthenticationForm
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from accounts import totp
from accounts.forms import CodeForm, EnrolForm
from accounts.login import begin_login, complete_login, pending_user
from accounts.models import RecoveryCode, TOTPDevice, User
from aily.encryption import UnreadableSecretError, decrypt, encrypt

#: In a session: the secret that is being set up, encrypted.
_NEW_SECRET = "totp_secret"  # noqa: S105 - a name


class LoginView(views.LoginView):
    redirect_authenticated_user = True

    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        return begin_login(self.request, form.get_user(), self.get_success_url())


@never_cache
@sensitive_post_parameters()
@require_http_methods(["GET", "HEAD", "POST"])
def login_code(request: HttpRequest) -> HttpResponse:
    """The second step of logging in."""
    user = pending_user(request)
    if user is None:
        return redirect("login")
    form = CodeForm(request.POST or None)
    if form.is_valid():
        try:
            return complete_login(request, user, form.cleaned_data["code"])
        except totp.CodeRefusedError as error:
            form.add_error(None, str(error))
    return render(request, "accounts/login_code.html", {"form": form, "username": user.username})


# --- The user's own authenticator -----------------------------------------------------------------
@never_cache
@sensitive_post_parameters()
@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def authenticator(request: HttpRequest) -> HttpResponse:
    """For staff, and whoever has one from when they were: sets it up, changes, removes it."""
    user = request.user
    if not isinstance(user, User) or not (user.is_staff or user.has_totp):
        raise PermissionDenied
    if not user.has_totp:
        return _enrol(request, user)
    if totp.lacks_second_factor(user, request.session):
        raise PermissionDenied
    return _manage(request, user)


def _enrol(request: HttpRequest, user: User) -> HttpResponse:
    secret = _secret_being_set_up(request)
    form = EnrolForm(user, request.POST or None)
    if form.is_valid():
        try:
            codes = totp.enrol(user, secret, form.cleaned_data["code"])
        except totp.CodeRefusedError as error:
            form.add_error("code", str(error))
        else:
            del request.session[_NEW_SECRET]
            update_session_auth_hash(request, user)
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


def _secret_being_set_up(request: HttpRequest) -> str:
    """The same one however often the page is loaded: it may be in the app already."""
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
    totp.remove(user)
    update_session_auth_hash(request, user)
    request.session.pop(totp.SESSION_MARK, None)
    return redirect("totp")
