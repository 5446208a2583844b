"""`manage.py cancel --filter KEY=VALUE ... [--yes] [--dry-run]`."""

from __future__ import annotations

import sys

from django.core.management.base import CommandError, CommandParser

from aily.management.operator_command import OperatorCommand
from chat.services.selection import FilterError, Selection, select


class Command(OperatorCommand):
    help = "Cancel the tasks for which all filters hold, after saying how many there are."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--filter",
            metavar="KEY=VALUE",
            action="append",
            required=True,
            dest="filters",
            help="model=NAME, scene=SLUG, user=NAME, status=queued or running, lane=NAME, "
            "older-than=15m, metadata.NAME=VALUE",
        )
        parser.add_argument("--yes", action="store_true", help="do not ask")
        parser.add_argument("--dry-run", action="store_true", help="only say how many there are")

    def handle(self, *, filters: list[str], yes: bool, dry_run: bool, **options: object) -> None:
        try:
            selection = select(filters)
        except FilterError as error:
            raise CommandError(str(error)) from error
        total = selection.count()
        self.stdout.write(f"{total} tasks")
        if total and not dry_run and (yes or self._is_confirmed(total)):
            self._cancel(selection)

    def _is_confirmed(self, total: int) -> bool:
        if not sys.stdin.isatty():
            raise CommandError("There is nobody to ask: add --yes to cancel them.")
        return input(f"Cancel {total} tasks? [y/N] ").strip().lower() in ("y", "yes")

    def _cancel(self, selection: Selection) -> None:
        cancelled = sum(selection.cancel())
        self.stdout.write(f"cancelled {cancelled} tasks")
