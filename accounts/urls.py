"""Logging in and out, and the second factor."""

from __future__ import annotations

from django.conf import settings
from django.contrib.auth.views import LogoutView
from django.urls import URLPattern, URLResolver, include, path

from accounts.views import LoginView, authenticator, login_code

_oidc_name = settings.OIDC_NAME if settings.OIDC_ISSUER else ""
urlpatterns: list[URLPattern | URLResolver] = [
    path("login/", LoginView.as_view(extra_context={"oidc_name": _oidc_name}), name="login"),
    path("login/code/", login_code, name="login_code"),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("account/totp/", authenticator, name="totp"),
]
if settings.OIDC_ISSUER:
    urlpatterns.append(path("", include("accounts.oidc.urls")))
