"""`manage.py scale [--workers N] [--web N]`."""

from __future__ import annotations

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from aily.launcher.programs import MAX_SCALED_PROCESSES
from aily.launcher.scaling import Scaler, ScalingError
from aily.management.operator_command import OperatorCommand

_FEWEST = {"worker": 0, "web": 1}


class Command(OperatorCommand):
    help = (
        "Bring an installation that `make run` has started to more or fewer processes, while it "
        "runs. WORKER_PROCESSES and WEB_PROCESSES count again at its next start."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        help_text = f"processes, {MAX_SCALED_PROCESSES} at most"
        for option in ("--workers", "--web"):
            parser.add_argument(option, type=int, metavar="N", help=help_text)

    def handle(self, *, workers: int | None, web: int | None, **options: object) -> None:
        wanted = {"worker": workers, "web": web}
        counts = {program: count for program, count in wanted.items() if count is not None}
        if not counts:
            raise CommandError("Give --workers or --web.")
        for program, count in counts.items():
            if count < _FEWEST[program]:
                raise CommandError(
                    f"There must be {_FEWEST[program]} {program} processes or more, not {count}."
                )
        scaler = Scaler(settings.DATA_DIR)
        try:
            for program, count in counts.items():
                before = scaler.scale(program, count)
                self.stdout.write(f"{program}: {before} -> {count}")
        except ScalingError as error:
            raise CommandError(str(error)) from error
