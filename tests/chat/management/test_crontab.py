"""The schedule: each job that it rings is known to the workers; and the scheduler's lock."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis
from django.conf import settings

from aily.embedded import with_redis_database
from aily.launcher.programs import BASE_DIR
from tests.waiting import wait_until

_CODE = """
import json
import aily.worker
known = set(aily.worker.broker.get_declared_actors())
from chat.management.commands.crontab import SCHEDULE
print(json.dumps([[actor.actor_name, actor.actor_name in known] for actor, _ in SCHEDULE]))
"""


def test_a_worker_knows_every_job() -> None:
    """A message for a job that no module of the worker declares would be thrown away."""
    done = subprocess.run(
        [sys.executable, "-c", _CODE], cwd=BASE_DIR, capture_output=True, text=True, check=True
    )
    jobs = dict(json.loads(done.stdout))
    assert {"sweep", "refresh_tools"} <= jobs.keys()
    assert [name for name, is_known in jobs.items() if not is_known] == []


#: No test's: its jobs reach nobody.
_DATABASE = 9
_LOCK, _LOCK_MS = "dramatiq-scheduler", 10_000


@contextmanager
def scheduler(redis_url: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "manage.py", "crontab", "--no-heartbeat"],
        cwd=BASE_DIR,
        env={**os.environ, "DRAMATIQ_REDIS_URL": redis_url, "METRICS_PORT": "0"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_scheduler_that_had_to_wait_keeps_its_lock() -> None:
    """The machine let it wait for more than half of the time that the lock lasts."""
    url = with_redis_database(settings.REDIS_URL, _DATABASE)
    client: Any = redis.Redis.from_url(url)
    # The first connection starts the server.
    client.flushdb()
    with client, scheduler(url) as process:
        # The first job: all are planned.
        wait_until(lambda: client.llen("dramatiq:aily"), "a job")
        process.send_signal(signal.SIGSTOP)
        wait_until(lambda: client.pttl(_LOCK) < _LOCK_MS * 0.35, "an old lock")
        jobs = client.llen("dramatiq:aily")
        process.send_signal(signal.SIGCONT)
        # What was missed is made up for, the lock first of all.
        wait_until(lambda: client.pttl(_LOCK) > _LOCK_MS * 0.8, "a renewed lock")
        wait_until(lambda: client.llen("dramatiq:aily") > jobs, "another job")
        assert process.poll() is None
