"""Makes an API key for a user and prints its secret alone, for scripts to capture."""

from __future__ import annotations

from django.core.management.base import CommandError, CommandParser

from accounts.models import APIKey, User
from aily.management.operator_command import OperatorCommand
from aily.problems import Conflict


class Command(OperatorCommand):
    help = "Make an API key and print its secret, which cannot be had again."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username")
        parser.add_argument("--name", default="command line", help="What the key is for.")

    def handle(self, *args: object, username: str, name: str, **options: object) -> None:
        try:
            owner = User.objects.get(username=username)
        except User.DoesNotExist:
            raise CommandError(f"There is no user named {username!r}.") from None
        try:
            _, secret = APIKey.create(owner, name)
        except Conflict as problem:
            raise CommandError(problem.message) from None
        self.stdout.write(secret)
