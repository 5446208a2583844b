"""Removes a user's second factor after the loss of both authenticator and recovery codes."""

from __future__ import annotations

from django.core.management.base import CommandError, CommandParser

from accounts.models import User
from accounts.sessions.totp import remove
from aily.management.operator_command import OperatorCommand


class Command(OperatorCommand):
    help = "Reset a user's TOTP and recovery codes. Ends their sessions."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username")

    def handle(self, *args: object, username: str, **options: object) -> None:
        user = User.objects.filter(username=username).first()
        if user is None:
            raise CommandError(f"There is no user named {username!r}.")
        if not remove(user):
            raise CommandError(f"{username} has set up no TOTP.")
        self.stdout.write(f"{username} has no second factor now, and is logged out.")
