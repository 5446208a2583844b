"""Who may do what: for now staff, with Django's model permissions."""

from __future__ import annotations

from accounts.models import User
from aily.problems import Forbidden


def may(user: User, permission: str) -> bool:
    """True for staff that has `permission`, such as "chat.change_scene". Reads the database."""
    return user.is_staff and user.has_perm(permission)


def require_permission(user: User, permission: str) -> None:
    """Raise Forbidden unless `user` is staff and has `permission`."""
    if not may(user, permission):
        raise Forbidden(f"This needs the permission {permission}.")
