"""Changing the user's own password."""

from __future__ import annotations

from auditlog.models import LogEntry
from django.http import HttpRequest

from accounts.models import User
from accounts.sessions.user_sessions import end_sessions, kept_session, other_sessions


def change_password(request: HttpRequest, user: User, password: str) -> None:
    """Give `user` a new password, validated by the caller. Ends their other sessions."""
    # First, as hashing is slow, and no connection is held yet.
    user.set_password(password)
    others = list(other_sessions(user, request))
    with kept_session(request, user):
        user.save(update_fields=["password"])
        end_sessions(user.pk, others)
    LogEntry.objects.log_create(
        user, action=LogEntry.Action.UPDATE, changes={"password": ("", "changed")}
    )
