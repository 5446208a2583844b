"""`manage.py resume NAME ...`."""

from __future__ import annotations

from django.core.management.base import CommandError, CommandParser

from aily.management.operator_command import OperatorCommand
from aily.redis.errors import RedisUnavailable
from chat.management.commands.pauses import lift, named


class Command(OperatorCommand):
    help = "End pauses of models, deployments and providers: by staff, after 429, open breakers."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "names",
            metavar="NAME",
            nargs="+",
            help="of a model or provider, or <model>@<deployment>",
        )

    def handle(self, *, names: list[str], **options: object) -> None:
        found = {name: named(name) for name in names}
        try:
            for name, rows in found.items():
                lifted = [lift(row) for row in rows]
                self.stdout.write(f"{name}: resumed" if any(lifted) else f"{name}: was not paused")
        except RedisUnavailable as error:
            raise CommandError(
                f"Redis is away: only the pause by staff has ended ({error})"
            ) from error
