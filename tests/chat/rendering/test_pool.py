"""The rendering processes: turns, bounds, and what happens when one of them dies."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, wait

import psutil
import pytest

from aily.launcher.programs import BASE_DIR
from aily.problems import Unavailable
from chat.exceptions import TemplateTimeout, TooManyRenderings
from chat.rendering import pool as pools
from chat.rendering.pool import RenderingPool
from chat.rendering.protocol import Reply
from tests.chat.rendering.pools import (
    ALICE,
    BOB,
    ENDLESS,
    QUICK,
    children,
    limits,
    quick,
)
from tests.waiting import wait_until


@pytest.fixture
def pool() -> Iterator[RenderingPool]:
    before = children()
    yield RenderingPool(processes=2, max_waiting_per_owner=5)
    for pid in children() - before:
        psutil.Process(pid).kill()


def text_of(job: Future[Reply]) -> str:
    return str(job.result(20)["messages"][0]["content"])


def endless(pool: RenderingPool, owner_id: int = ALICE) -> Future[Reply]:
    return pool.submit(owner_id, ENDLESS, {}, limits())


def test_one_owner_with_slow_jobs_leaves_a_process_to_the_others(pool: RenderingPool) -> None:
    slow = [endless(pool) for _ in range(5)]
    for _ in range(20):
        assert text_of(quick(pool)) == "yy"
    # The first of the slow ones alone takes a fifth of a second of its process.
    assert not all(job.done() for job in slow)
    for job in slow:
        assert isinstance(job.exception(20), TemplateTimeout)


def test_one_owner_has_only_so_many_waiting(pool: RenderingPool) -> None:
    # One runs, or is about to.
    jobs = [endless(pool) for _ in range(5)]
    with pytest.raises(TooManyRenderings) as caught:
        jobs.extend(endless(pool) for _ in range(2))
    assert caught.value.details() == {"limit": {"name": "renderings_waiting", "value": 5}}
    assert text_of(quick(pool)) == "yy"
    for job in jobs:
        job.cancel()
    wait(jobs)


def test_an_author_has_one_check_waiting(pool: RenderingPool) -> None:
    jobs = [pool.submit(ALICE, QUICK, None, limits())]
    with pytest.raises(TooManyRenderings):
        jobs.extend(pool.submit(ALICE, QUICK, None, limits()) for _ in range(50))
    assert jobs[0].result(20) == {"schema": QUICK.schema}


def test_a_job_that_waited_too_long_is_given_up(
    pool: RenderingPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient = RenderingPool(2, 3, max_wait_seconds=-1)
    assert isinstance(quick(impatient).exception(20), Unavailable)
    monkeypatch.setattr(pools, "MAX_WAITING_BYTES", 10)
    with pytest.raises(Unavailable):
        quick(pool)


def test_a_process_that_is_killed_is_replaced(pool: RenderingPool) -> None:
    before = children()
    assert text_of(quick(pool)) == "yy"
    [pid] = children() - before
    busy = pool.submit(BOB, ENDLESS, {}, limits(20))
    child = psutil.Process(pid)
    used = child.cpu_times().user
    # Compiling takes a tenth of that.
    wait_until(lambda: child.cpu_times().user >= used + 0.3, "0.3 s of CPU")
    child.kill()
    refused = busy.exception(20)
    assert getattr(refused, "code", None) == "invalid_template"
    assert getattr(refused, "field", None) == "variables"
    assert text_of(quick(pool)) == "yy"


def test_a_process_that_went_for_want_of_work_is_not_missed(
    pool: RenderingPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    soon = "from chat.rendering import child; child.IDLE_SECONDS = 0.01; child.main()"
    monkeypatch.setattr(pools, "_COMMAND", (sys.executable, "-c", soon))
    before = children()
    for _ in range(2):
        assert text_of(quick(pool)) == "yy"
        wait_until(lambda: children() <= before, "the end of the process")


def is_alive(pid: int) -> bool:
    """Whether it runs; the first process of a container may never bury its dead."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_no_process_outlives_the_one_that_started_it() -> None:
    """Not even one that is at work."""
    script = (
        "from tests.chat.rendering.pools import ENDLESS, children, limits, quick\n"
        "from chat.rendering.pool import RenderingPool\n"
        "pool = RenderingPool(2, 5)\n"
        "quick(pool).result(20)\n"
        "pool.submit(1, ENDLESS, {}, limits(0.5))\n"
        "print(*children(), flush=True)\n"
        "import os\n"
        "os.kill(os.getpid(), 9)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], cwd=BASE_DIR, stdout=subprocess.PIPE, text=True, check=False
    )
    pids = [int(pid) for pid in ended.stdout.split()]
    assert pids
    wait_until(lambda: not any(map(is_alive, pids)), "the end of the processes")


def test_a_process_has_no_secrets_and_no_django(
    pool: RenderingPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_KEY", "hush")
    before = children()
    assert text_of(quick(pool)) == "yy"
    [pid] = children() - before
    child = psutil.Process(pid)
    assert "SECRET_KEY" not in child.environ()
    assert not [mapped.path for mapped in child.memory_maps() if "psycopg" in mapped.path]
