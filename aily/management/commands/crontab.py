"""The scheduler, made observable: dramatiq-crontab's command of the same name."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from dramatiq_crontab import utils
from dramatiq_crontab.management.commands.crontab import Command as Crontab

from aily.observability.process import observe
from aily.redis import guarded_pool


class Command(Crontab):
    """Run the scheduler of the periodic jobs."""

    help = __doc__ or ""

    def handle(self, *args: Any, **options: Any) -> None:
        observe("scheduler", uses_database=False)
        # The lock's. By itself the library knows neither Sentinels nor timeouts.
        utils.redis_client.connection_pool = guarded_pool(settings.DRAMATIQ_REDIS_URL)
        super().handle(*args, **options)
