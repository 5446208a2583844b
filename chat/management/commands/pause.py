"""`manage.py pause NAME ...`."""

from __future__ import annotations

from django.core.management.base import CommandParser

from aily.management.operator_command import OperatorCommand
from chat.management.commands.pauses import named
from chat.services import pauses


class Command(OperatorCommand):
    help = (
        "Pause models, their deployments, or all models of providers: tasks are accepted, and held "
        "until `resume` where no deployment takes them; calls that run go on."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "names",
            metavar="NAME",
            nargs="+",
            help="of a model or provider, or <model>@<deployment>",
        )

    def handle(self, *, names: list[str], **options: object) -> None:
        found = {name: named(name) for name in names}
        for name, rows in found.items():
            changed = [pauses.pause(row) for row in rows]
            self.stdout.write(f"{name}: paused" if any(changed) else f"{name}: was paused already")
