"""`manage.py purge_tasks --older-than 30d [--dry-run]`."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError
from datetime import timedelta

from django.core.management.base import CommandParser
from django.utils import timezone
from rich.console import Console
from rich.progress import Progress

from aily.management.operator_command import OperatorCommand
from chat import retention

_UNITS = {"h": "hours", "d": "days", "w": "weeks"}


def duration(text: str) -> timedelta:
    """Parse `12h`, `30d` or `4w`. Raises ArgumentTypeError."""
    match = re.fullmatch(r"(\d{1,5})([hdw])", text)
    if match is None:
        raise ArgumentTypeError(f"{text!r} is no duration such as 12h, 30d or 4w")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


class Command(OperatorCommand):
    help = "Delete tasks that ended long ago. Conversations keep their messages."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--older-than",
            type=duration,
            required=True,
            metavar="DURATION",
            help="how long ago they must have ended: 12h, 30d, 4w",
        )
        parser.add_argument("--dry-run", action="store_true", help="only say how many there are")

    def handle(self, *, older_than: timedelta, dry_run: bool, **options: object) -> None:
        cutoff = timezone.now() - older_than
        total = retention.ended_before(cutoff).count()
        if dry_run:
            self.stdout.write(f"{total} tasks ended before {cutoff:%Y-%m-%d %H:%M} UTC")
            return
        deleted = 0
        with Progress(console=Console(file=self.stderr), transient=True) as progress:  # type: ignore[arg-type]
            bar = progress.add_task("deleting tasks", total=total)
            for count in retention.purge(cutoff):
                deleted += count
                progress.advance(bar, count)
        self.stdout.write(f"deleted {deleted} tasks")
