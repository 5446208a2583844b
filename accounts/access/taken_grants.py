"""Announces that something was taken from users: what they follow of others is checked at once."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import Group
from django.db.models import Model
from django.db.models.signals import m2m_changed, post_delete, post_save
from guardian.models import GroupObjectPermission, UserObjectPermission

from accounts.models import Role, User
from aily.web.access_revocation import recheck_grants
from aily.web.grant_changes import ANYBODY

_TAKING = frozenset({"post_remove", "pre_clear"})


def connect_signals() -> None:
    post_delete.connect(_user_grant_deleted, sender=UserObjectPermission)
    for sender in (GroupObjectPermission, Group, Role):
        post_delete.connect(_role_changed, sender=sender)
    m2m_changed.connect(_links_changed, sender=User.groups.through)
    m2m_changed.connect(_links_changed, sender=User.user_permissions.through)
    m2m_changed.connect(_links_changed, sender=Group.permissions.through)
    post_save.connect(_user_saved, sender=User)


def _user_grant_deleted(sender: object, instance: UserObjectPermission, **kwargs: Any) -> None:
    recheck_grants(instance.user_id)


def _role_changed(sender: object, **kwargs: Any) -> None:
    recheck_grants(ANYBODY)


def _links_changed(sender: object, instance: Model, action: str, **kwargs: Any) -> None:
    if action in _TAKING:
        recheck_grants(instance.pk if isinstance(instance, User) else ANYBODY)


def _user_saved(sender: object, instance: User, created: bool, **kwargs: Any) -> None:
    """Staff have what is granted on all objects, superusers everything."""
    # Each login writes last_login.
    if not created and kwargs.get("update_fields") != frozenset({"last_login"}):
        recheck_grants(instance.pk)
