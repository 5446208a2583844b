"""Accounts: who the user is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.apps import AppConfig
from django.contrib.admin import apps as admin
from django.contrib.admin import autodiscover
from django.contrib.admin.checks import check_admin_app, check_dependencies
from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.core import checks
from django.db.models import QuerySet
from django.db.models.signals import post_delete
from django.http import HttpRequest

from aily.web.access_revocation import Access, revoke_access, session_hash


class AdminConfig(admin.SimpleAdminConfig):
    """Leaves autodiscovery to the URLs: what it loads is of use to the web processes alone, and
    costs each start of another 50 ms."""

    default = False
    default_site = "accounts.admin_site.Site"

    def ready(self) -> None:
        checks.register(check_dependencies, checks.Tags.admin)
        checks.register(check_admin, checks.Tags.admin)


def check_admin(**kwargs: Any) -> list[checks.CheckMessage]:
    """Django's check of the admin, of all of it: no URL may have been looked at yet."""
    autodiscover()
    found: list[checks.CheckMessage] = check_admin_app(**kwargs)
    return found


class AccountsConfig(AppConfig):
    name = "accounts"
    default = True

    def ready(self) -> None:
        from accounts import audit, delegation
        from accounts.access import grants, keys, menus
        from accounts.access.permissions import register_objects
        from accounts.models import APIKey, MenuItem, Role, User
        from accounts.sessions import user_sessions as sessions
        from aily.cache import Warmer, register_warmers

        grants.connect_signals()
        keys.connect_signals()
        menus.connect_signals()
        audit.connect_signals()
        delegation.connect_signals()
        register_objects(MenuItem, "id", ["use_menuitem"])
        register_warmers("menus", Warmer(menus.MENU, lambda: [menus.ALL]))
        register_warmers(
            "permissions",
            Warmer(grants.ROLES, lambda: Role.objects.values_list("pk", flat=True)),
            Warmer(
                grants.USERS,
                lambda: User.objects.filter(is_active=True).values_list("pk", flat=True),
            ),
        )
        register_warmers(
            "keys",
            Warmer(keys.KEYS, lambda: APIKey.objects.usable().values_list("digest", flat=True)),
        )
        user_logged_in.connect(sessions.remember_login)
        user_logged_out.connect(close_sockets_of_session)
        post_delete.connect(close_sockets_of_user, sender=User)


def ids(rows: QuerySet[Any]) -> Iterable[int]:
    return rows.values_list("pk", flat=True)


def close_sockets_of_session(sender: Any, request: HttpRequest, user: Any, **kwargs: Any) -> None:
    """A page that was left open in another tab hears nothing more after the log-out."""
    session_key = request.session.session_key
    if user is not None and session_key is not None:
        user.sessions.filter(session_key=session_key).delete()
        revoke_access(Access(user.pk, session=session_hash(session_key)))


def close_sockets_of_user(sender: Any, instance: Any, **kwargs: Any) -> None:
    revoke_access(Access(instance.pk))
