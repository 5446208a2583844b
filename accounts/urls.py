"""Logging in and out, the user's own account, and the choice of a language."""

from __future__ import annotations

from django.conf import settings
from django.contrib.auth.views import LogoutView
from django.urls import URLPattern, URLResolver, include, path
from django.views.i18n import set_language

from accounts.sessions.account_views import account, authenticator, password
from accounts.sessions.views import log_in, log_in_by_code

urlpatterns: list[URLPattern | URLResolver] = [
    path("login/", log_in, name="login"),
    path("login/code/", log_in_by_code, name="login_code"),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("language/", set_language, name="set_language"),
    path("account/", account, name="account"),
    path("account/password/", password, name="password"),
    path("account/totp/", authenticator, name="totp"),
]
if settings.OIDC_ISSUER:
    urlpatterns.append(path("", include("accounts.oidc.urls")))
