"""`manage.py drain WORKER ... [--wait]`."""

from __future__ import annotations

import time

from django.core.management.base import CommandError, CommandParser

from aily.management.operator_command import OperatorCommand
from chat.services.drain import drain, find_workers, still_running

POLL_SECONDS = 0.5


class Command(OperatorCommand):
    help = (
        "Have workers claim nothing more, finish the calls that run, and stop. `make run` and "
        "systemd do not start them again."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "workers",
            metavar="WORKER",
            nargs="+",
            help="an id or HOST:PID of `manage.py status`, or a host with all its workers",
        )
        parser.add_argument("--wait", action="store_true", help="return when they have stopped")

    def handle(self, *, workers: list[str], wait: bool, **options: object) -> None:
        found = {name: find_workers(name) for name in workers}
        for name, rows in found.items():
            if not rows:
                raise CommandError(f"There is no living worker {name!r}.")
        draining = list({row.pk: row for rows in found.values() for row in rows}.values())
        drain(draining)
        for worker in draining:
            self.stdout.write(f"{worker}: draining")
        while wait and still_running(draining):
            time.sleep(POLL_SECONDS)
        if wait:
            self.stdout.write("all have stopped")
