"""`manage.py check_tables [--dry-run] [--drop-unknown]`."""

from __future__ import annotations

from django.core.management import CommandError
from django.core.management.base import CommandParser

from aily.management.operator_command import OperatorCommand
from chat.tables import checking


class Command(OperatorCommand):
    help = (
        "Compare the catalogue of tables with PostgreSQL, and make what is missing there, empty. "
        "Fails while something is left."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="change nothing")
        parser.add_argument(
            "--drop-unknown",
            action="store_true",
            help="drop PostgreSQL tables that the catalogue does not have, with their rows",
        )

    def handle(self, *, dry_run: bool, drop_unknown: bool, **options: object) -> None:
        left = 0
        for difference in checking.differences():
            is_mended = not dry_run and (
                checking.repair(difference) or (drop_unknown and checking.drop(difference))
            )
            left += not is_mended
            self.stdout.write(f"{difference}{': mended' if is_mended else ''}")
        if left:
            raise CommandError(f"{left} differences are left.")
        self.stdout.write("The catalogue and PostgreSQL agree.")
