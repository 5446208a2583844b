"""Jobs: kept alive, logged when they break, and cancelled together."""

from __future__ import annotations

import asyncio
import gc

import pytest

from aily.concurrency.jobs import Jobs


async def test_a_job_that_nothing_else_refers_to_is_kept_alive() -> None:
    jobs = Jobs("the job")
    done: list[bool] = []
    go_on = asyncio.Event()

    async def work() -> None:
        await go_on.wait()
        done.append(True)

    jobs.spawn(work())
    await asyncio.sleep(0)
    gc.collect()
    go_on.set()
    await jobs.wait(10)
    assert done == [True]
    assert len(jobs) == 0


async def test_a_job_that_breaks_is_logged_and_ends_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ends: list[int] = []
    jobs = Jobs("the job", on_done=lambda: ends.append(len(jobs)))
    go_on = asyncio.Event()

    async def break_() -> None:
        raise ValueError("odd")

    async def wait() -> None:
        await go_on.wait()

    jobs.spawn(break_())
    other = jobs.spawn(wait())
    await jobs.wait(0.01)
    assert "the job failed" in caplog.text
    assert ends == [1]
    go_on.set()
    await jobs.wait(10)
    assert not other.cancelled()
    assert ends == [1, 0]


async def test_a_job_that_has_just_ended_is_not_taken_for_one_that_runs() -> None:
    """What begins a job only while none runs would otherwise begin none, and leave work undone."""
    jobs = Jobs("the job")
    seen: list[bool] = []
    go_on = asyncio.Event()

    async def work() -> None:
        await go_on.wait()

    jobs.spawn(work())
    await asyncio.sleep(0)
    assert jobs
    go_on.set()
    # After the job's last step, and before its callbacks.
    asyncio.get_running_loop().call_soon(lambda: seen.append(bool(jobs)))
    await jobs.wait(10)
    assert seen == [False]


async def test_cancelling_spares_the_job_that_asks_for_it() -> None:
    jobs = Jobs("the job")
    waiting = jobs.spawn(asyncio.Event().wait())  # type: ignore[arg-type]
    outlived: list[bool] = []

    async def cancel_all() -> None:
        jobs.cancel()
        await asyncio.wait([waiting])
        outlived.append(True)

    jobs.spawn(cancel_all())
    await jobs.wait(10)
    assert waiting.cancelled()
    assert outlived == [True]


async def test_waiting_ends_at_its_timeout() -> None:
    jobs = Jobs("the job")
    job = jobs.spawn(asyncio.Event().wait())  # type: ignore[arg-type]
    await jobs.wait(0.01)
    assert not job.done()
    jobs.cancel()
    await jobs.wait(10)
    assert job.cancelled()
