"""Accounts: users, what they may do, and logging in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.apps import AppConfig, apps
from django.contrib.admin import apps as admin
from django.contrib.admin import autodiscover
from django.contrib.admin.checks import check_admin_app, check_dependencies
from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.core import checks
from django.db.models.signals import post_delete
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from aily.web.access_revocation import Access, revoke_access, session_hash

if TYPE_CHECKING:
    from accounts.models import User


class AdminConfig(admin.SimpleAdminConfig):
    """Django's admin, but autodiscovered by the URLs: only web processes need it, and it would add
    50 ms to the start of all others."""

    default = False
    default_site = "accounts.admin_site.Site"

    def ready(self) -> None:
        checks.register(check_dependencies, checks.Tags.admin)
        checks.register(check_admin, checks.Tags.admin)


def check_admin(**kwargs: Any) -> list[checks.CheckMessage]:
    """Run Django's checks of the admin after autodiscovery, as URLs may not be loaded yet."""
    autodiscover()
    found: list[checks.CheckMessage] = check_admin_app(**kwargs)
    return found


class AccountsConfig(AppConfig):
    name = "accounts"
    verbose_name = _("Accounts")
    default = True

    def ready(self) -> None:
        from accounts import audit, delegation_checks
        from accounts.access import grants, keys, menus, taken_grants
        from accounts.access.permissions import register_objects
        from accounts.models import APIKey, MenuItem, Role, User
        from accounts.sessions import user_sessions as sessions
        from aily.admin.model_texts import translate_models
        from aily.cache import Warmer, register_warmers

        translate_models(self)
        # The form of a role has permissions on them, by their names.
        translate_models(apps.get_app_config("guardian"))
        grants.connect_signals()
        taken_grants.connect_signals()
        keys.connect_signals()
        menus.connect_signals()
        audit.connect_signals()
        delegation_checks.connect_signals()
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


def close_sockets_of_session(
    sender: object, request: HttpRequest, user: User | None, **kwargs: object
) -> None:
    """Close the sockets of other tabs of the session that logs out."""
    session_key = request.session.session_key
    if user is not None and session_key is not None:
        user.sessions.filter(session_key=session_key).delete()
        revoke_access(Access(user.pk, session=session_hash(session_key)))


def close_sockets_of_user(sender: object, instance: User, **kwargs: object) -> None:
    revoke_access(Access(instance.pk))
