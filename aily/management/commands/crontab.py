"""The scheduler, made observable: dramatiq-crontab's command of the same name."""

from __future__ import annotations

from typing import Any

from dramatiq_crontab.management.commands.crontab import Command as Crontab

from aily.observability.process import observe


class Command(Crontab):
    """Run the scheduler of the periodic jobs."""

    help = __doc__ or ""

    def handle(self, *args: Any, **options: Any) -> None:
        observe("scheduler", uses_database=False)
        super().handle(*args, **options)
