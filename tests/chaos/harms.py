"""What may happen to an installation, in the ways of machines and operators. One line a harm."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import psutil

from tests.chaos.site import Site, wait_until

#: A task that is submitted after a harm ends within this, and where PostgreSQL was away.
BACK_SECONDS = 30.0
BACK_WITHOUT_POSTGRES_SECONDS = 120.0
SHORT_FREEZE_SECONDS = 3.0


@dataclass(frozen=True)
class Harm:
    """`strike` returns when the harm is done; from then on the time to be back counts."""

    name: str
    strike: Callable[[Site], object]
    back_seconds: float = BACK_SECONDS


def kill(kind: str) -> Callable[[Site], object]:
    return lambda site: site.signal(kind, signal.SIGKILL)


def stop(kind: str) -> Callable[[Site], object]:
    return lambda site: site.signal(kind, signal.SIGTERM)


def restart_postgres(site: Site) -> None:
    """Fast shutdown, as an operator would; it comes back by itself."""
    site.signal("postgres", signal.SIGINT)


def lose_redis(site: Site) -> None:
    """Killed, and empty when it is back."""
    site.empty_redis()
    site.signal("valkey", signal.SIGKILL)


def kill_simulator(site: Site) -> None:
    site.installation.kill_simulator()
    time.sleep(site.random.uniform(0.5, 3))
    site.installation.start_simulator()
    site.installation.wait_for_simulator()


def freeze_worker(site: Site) -> None:
    """For less than its lease lasts: no other worker takes its tasks, and it goes on with them."""
    with _Frozen(site):
        time.sleep(SHORT_FREEZE_SECONDS)


def freeze_worker_past_its_lease(site: Site) -> None:
    """It wakes up when others have its tasks: what it still has to say is late."""
    since = time.time()
    with _Frozen(site) as frozen:
        if not frozen.worker_ids:
            return
        theirs = "SELECT id::text, attempt FROM chat_task WHERE status = 'running'"
        calls = site.rows(f"{theirs} AND worker_id = ANY(%s)", frozen.worker_ids)
        dead = "SELECT count(*) FROM chat_worker WHERE id = ANY(%s) AND is_dead"
        wait_until(
            lambda: site.rows(dead, frozen.worker_ids)[0][0] == len(frozen.worker_ids),
            "a frozen worker was not declared dead",
        )
        ids, attempts = [call[0] for call in calls], [call[1] for call in calls]
        still = (
            "SELECT count(*) FROM chat_task t JOIN unnest(%s::uuid[], %s::int[]) AS c(id, attempt)"
            " ON t.id = c.id AND t.attempt = c.attempt AND t.status IN ('queued', 'running')"
        )
        wait_until(
            lambda: site.rows(still, ids, attempts)[0][0] == 0,
            "the tasks of a frozen worker were not taken over",
        )
        site.zombie_calls.update((str(task_id), int(attempt)) for task_id, attempt in calls)
    site.frozen.append((since, time.time()))


class _Frozen:
    """One worker and its children, stopped while the context lasts."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._family: list[psutil.Process] = []
        self.worker_ids: list[str] = []

    def __enter__(self) -> _Frozen:
        if processes := self._site.processes("worker"):
            chosen = self._site.random.choice(processes)
            with suppress(psutil.NoSuchProcess):
                self._family = [chosen, *chosen.children(recursive=True)]
        self._signal(signal.SIGSTOP)
        pids = [process.pid for process in self._family]
        alive = "SELECT id::text FROM chat_worker WHERE pid = ANY(%s) AND NOT is_dead"
        self.worker_ids = [row[0] for row in self._site.rows(alive, pids)]
        return self

    def __exit__(self, *error: object) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        for process in self._family:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)


#: What may happen. Harms of another module are added by a line `*name.HARMS`.
HARMS = (
    Harm("kill a web process", kill("web")),
    Harm("kill a worker", kill("worker")),
    Harm("stop a worker in order", stop("worker")),
    Harm("freeze a worker briefly", freeze_worker),
    Harm("freeze a worker past its lease", freeze_worker_past_its_lease),
    Harm("kill the scheduler", kill("scheduler")),
    Harm("kill the simulator", kill_simulator),
    Harm("kill Valkey", kill("valkey")),
    Harm("empty Valkey", Site.empty_redis),
    Harm("kill Valkey, back empty", lose_redis),
    Harm("kill PostgreSQL", kill("postgres"), BACK_WITHOUT_POSTGRES_SECONDS),
    Harm("restart PostgreSQL", restart_postgres, BACK_WITHOUT_POSTGRES_SECONDS),
)
