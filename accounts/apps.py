"""Accounts: who the user is."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.contrib.admin import apps as admin
from django.contrib.auth.signals import user_logged_out
from django.http import HttpRequest

from aily.sockets import Access, revoke_access, session_hash


class AdminConfig(admin.AdminConfig):
    default = False
    default_site = "accounts.admin_site.Site"


class AccountsConfig(AppConfig):
    name = "accounts"
    default = True

    def ready(self) -> None:
        from accounts import audit, grants, keys, menus
        from accounts.models import MenuItem
        from accounts.permissions import register_objects

        grants.connect_signals()
        keys.connect_signals()
        menus.connect_signals()
        audit.connect_signals()
        register_objects(MenuItem, "id", ["use_menuitem"])
        user_logged_out.connect(close_sockets_of_session)


def close_sockets_of_session(sender: Any, request: HttpRequest, user: Any, **kwargs: Any) -> None:
    """A page that was left open in another tab hears nothing more after the log-out."""
    session_key = request.session.session_key
    if user is not None and session_key is not None:
        revoke_access(Access(user.pk, session=session_hash(session_key)))
