"""Mounted only where OIDC_ISSUER is set."""

from __future__ import annotations

from django.urls import path

from accounts.oidc.views import callback, login

urlpatterns = [
    path("login/oidc/", login, name="oidc_login"),
    path("login/oidc/callback/", callback, name="oidc_callback"),
]
