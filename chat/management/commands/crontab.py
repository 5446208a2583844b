"""The scheduler: dramatiq-crontab's command of the same name, with metrics and a guarded Redis.

The schedule is declared here: the library's own decorator, on the actors, would load APScheduler
into every process.
"""

from __future__ import annotations

from django.conf import settings
from dramatiq_crontab import interval, scheduler, utils
from dramatiq_crontab.management.commands.crontab import Command as Crontab

from aily.monitoring.process import observe
from aily.redis.guarded import guarded_pool
from chat import actors
from chat.runs import actors as runs
from chat.tables import actors as tables
from chat.tables.transfers import actors as transfers

#: Which actor is sent a message every how many seconds.
SCHEDULE = (
    (actors.sweep, 5),
    (actors.settle, 1),
    (actors.deliver, 1),
    # `settle` checks these each second; here for a settling that fails.
    (runs.feed_runs, 30),
    (transfers.work_on_transfers, 30),
    (actors.forget_idempotency_keys, 3600),
    (actors.purge_tasks, 300),
    (actors.purge_vectors, 300),
    (runs.purge_runs, 300),
    (transfers.purge_transfers, 300),
    (actors.refresh_tools, 15),
    (tables.convert_fields, 10),
    (tables.purge_tables, 3600),
    (tables.fill_ai_fields, 30),
    (tables.keep_indexes, 300),
)


class Command(Crontab):
    """Run the scheduler of the periodic jobs."""

    help = __doc__ or ""
    # The checks would load all of the web.
    requires_system_checks = ()

    def handle(self, *args: object, **options: object) -> None:
        observe("scheduler", uses_database=False)
        # For the scheduler's lock. By itself the library supports neither Sentinels nor timeouts.
        utils.redis_client.connection_pool = guarded_pool(settings.DRAMATIQ_REDIS_URL)
        # By default APScheduler leaves out what is a second late, the renewal of the lock included:
        # on a machine that lets it wait so long, the scheduler would end. Of several turns that
        # were missed, one is made up for.
        scheduler.configure(job_defaults={"misfire_grace_time": None, "coalesce": True})
        for actor, seconds in SCHEDULE:
            interval(seconds=seconds)(actor)
        super().handle(*args, **options)
