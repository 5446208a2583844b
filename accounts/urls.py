"""Logging in and out, and the second factor."""

from __future__ import annotations

from django.contrib.auth.views import LogoutView
from django.urls import path

from accounts.views import LoginView, authenticator, login_code

urlpatterns = [
    path("login/", LoginView.as_view(), name="login"),
    path("login/code/", login_code, name="login_code"),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("account/totp/", authenticator, name="totp"),
]
