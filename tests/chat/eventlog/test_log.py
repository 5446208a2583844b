"""The log keeps the order, refuses appends of older attempts, and survives being lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import uuid4

import pytest
from redis.exceptions import OutOfMemoryError, ResponseError

from aily.redis.clients import async_redis, sync_redis
from aily.redis.pubsub import subscriber_client
from chat import eventlog
from chat.eventlog import Append, Appended, LogWriter, Outcome, aappend, append
from chat.eventlog.keys import log_key, text_channel, user_channel
from chat.events import (
    START,
    EventId,
    TaskCancelled,
    TaskDelta,
    TaskSnapshot,
    TaskStarted,
    decode,
    encode,
)
from tests.chat.conftest import until

OWNER = 7


@pytest.fixture
async def task_id(loop_services: None) -> AsyncIterator[str]:
    task_id = str(uuid4())
    yield task_id
    await async_redis().delete(log_key(task_id))


@pytest.fixture
async def writer(loop_services: None) -> LogWriter:
    return LogWriter(keep_seconds=60)


def started(task_id: str, attempt: int) -> Append:
    event_id = EventId(attempt, 1)
    event = TaskStarted(task_id=task_id, id=str(event_id), attempt=attempt, model="any")
    return Append(task_id, event_id, encode(event), user_channel(OWNER), create=True)


def delta(task_id: str, attempt: int, n: int, text: str = "x") -> Append:
    event_id = EventId(attempt, n)
    event = TaskDelta(task_id=task_id, id=str(event_id), text=text, reasoning="")
    return Append(task_id, event_id, encode(event), text_channel(task_id))


def outcomes(appended: Sequence[Appended]) -> list[Outcome]:
    return [outcome for outcome, _ in appended]


async def ids(task_id: str, after: EventId = START) -> list[str]:
    return [str(event_id) for event_id, _ in await eventlog.read(task_id, after)]


async def test_events_come_back_in_order_after_any_cursor(task_id: str) -> None:
    await aappend([started(task_id, 1), *(delta(task_id, 1, n) for n in range(2, 5))])
    assert await ids(task_id) == ["1-1", "1-2", "1-3", "1-4"]
    assert await ids(task_id, EventId(1, 2)) == ["1-3", "1-4"]
    assert await ids(task_id, EventId(1, 4)) == []


async def test_a_repeated_append_changes_nothing(task_id: str) -> None:
    batch = [started(task_id, 1), delta(task_id, 1, 2)]
    assert outcomes(append(batch)) == [Outcome.APPENDED, Outcome.APPENDED]
    assert outcomes(append(batch[1:])) == [Outcome.REPEATED]
    # A whole batch whose reply was lost: its first event is below the top by now.
    assert outcomes(append(batch)) == [Outcome.REPEATED, Outcome.REPEATED]
    assert await ids(task_id) == ["1-1", "1-2"]


async def test_the_worker_of_an_older_attempt_is_kept_out(task_id: str) -> None:
    await aappend([started(task_id, 1), delta(task_id, 1, 2)])
    await aappend([started(task_id, 2)])
    assert outcomes(await aappend([delta(task_id, 1, 3)])) == [Outcome.REFUSED]
    assert await ids(task_id) == ["1-1", "1-2", "2-1"]


async def test_an_append_to_a_lost_log_is_not_taken_for_a_repeated_one(task_id: str) -> None:
    assert outcomes(await aappend([delta(task_id, 1, 2)])) == [Outcome.MISSING]
    assert not sync_redis().exists(log_key(task_id))


async def test_two_flushes_at_once_leave_no_event_out(
    task_id: str, writer: LogWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, goes_on = asyncio.Event(), asyncio.Event()

    async def append_slowly(appends: Sequence[Append], since: float) -> list[Appended]:
        appended = await aappend(appends, since)
        begun.set()
        await goes_on.wait()
        return appended

    monkeypatch.setattr("chat.eventlog.writer.aappend", append_slowly)
    log = writer.open(task_id, OWNER, attempt=1)
    log.start("any")
    flushes = [asyncio.create_task(writer.flush())]
    await begun.wait()
    log.write("a", "")
    flushes.append(asyncio.create_task(writer.flush()))
    await asyncio.sleep(0)
    log.end(lambda event_id: TaskCancelled(task_id=task_id, id=event_id))
    goes_on.set()
    await asyncio.gather(*flushes)
    assert not log.has_pending
    assert await ids(task_id) == ["1-1", "1-2", "1-3"]


async def test_a_writer_that_is_behind_another_attempt_learns_that_it_lost(
    task_id: str, writer: LogWriter
) -> None:
    log = writer.open(task_id, OWNER, attempt=1)
    lost: list[bool] = []
    log.on_refused = lambda: lost.append(True)
    log.start("any")
    await writer.flush()
    append([started(task_id, 2)])
    log.on_listener()
    log.write("late", "")
    await writer.flush()
    log.write("later", "")
    await writer.flush()
    assert lost == [True]
    assert await ids(task_id) == ["1-1", "2-1"]


async def test_a_batch_whose_reply_was_lost_is_sent_again_without_harm(
    task_id: str, writer: LogWriter
) -> None:
    log = writer.open(task_id, OWNER, attempt=1)
    log.on_refused = lambda: pytest.fail("no other attempt writes here")
    log.start("any")
    log.write("one", "")
    # Redis got it all, and the connection broke before it said so.
    await aappend(log.take_pending())
    log.write("two", "")
    await writer.flush()
    log.end(lambda event_id: TaskCancelled(task_id=task_id, id=event_id))
    await writer.flush()
    frames = [decode(frame) for _, frame in await eventlog.read(task_id, START)]
    assert [frame.id for frame in frames] == ["1-1", "1-2", "1-3", "1-4"]
    assert [frame.text for frame in frames if isinstance(frame, TaskDelta)] == ["one", "two"]


async def test_the_first_delta_leaves_at_once_and_a_burst_is_put_together(
    task_id: str, writer: LogWriter
) -> None:
    running = asyncio.create_task(writer.run())
    log = writer.open(task_id, OWNER, attempt=1)
    log.start("any")
    for number in range(1_000):
        log.write(f"{number} ", "")
    await until(lambda: not log.has_pending)
    log.end(lambda event_id: TaskCancelled(task_id=task_id, id=event_id))
    await until(lambda: not log.has_pending)
    running.cancel()
    frames = [decode(frame) for _, frame in await eventlog.read(task_id, START)]
    text = "".join(frame.text for frame in frames if isinstance(frame, TaskDelta))
    assert text == log.text == "".join(f"{number} " for number in range(1_000))
    assert len(frames) < 10


@pytest.mark.parametrize("is_listening", [False, True])
async def test_a_log_knows_whether_its_text_has_listeners(
    task_id: str, writer: LogWriter, is_listening: bool
) -> None:
    async with subscriber_client() as client, client.pubsub() as pubsub:
        await pubsub.subscribe(text_channel(task_id if is_listening else "another"))
        await pubsub.get_message(timeout=20)
        log = writer.open(task_id, OWNER, attempt=1)
        assert log.listeners.are_there
        log.start("any")
        await writer.flush()
        assert log.listeners.are_there == is_listening
        log.on_listener()
        for _ in range(2):
            assert log.listeners.are_there
            log.write("text", "")
            await writer.flush()
        # An announcement counts for one append.
        assert log.listeners.are_there == is_listening


async def test_text_without_listeners_waits_for_one_or_for_the_end(
    task_id: str, writer: LogWriter
) -> None:
    log = writer.open(task_id, OWNER, attempt=1)
    log.start("any")
    await writer.flush()
    log.write("one ", "")
    log.write("two ", "")
    await writer.flush()
    assert await ids(task_id) == ["1-1"]
    log.on_listener()
    await writer.flush()
    log.write("three ", "")
    await writer.flush()
    assert await ids(task_id) == ["1-1", "1-2", "1-3"]
    log.write("four", "")
    log.flush_text()
    await writer.flush()
    assert (await ids(task_id), log.last_event) == (["1-1", "1-2", "1-3"], 4)
    log.end(lambda event_id: TaskCancelled(task_id=task_id, id=event_id))
    await writer.flush()
    frames = [decode(frame) for _, frame in await eventlog.read(task_id, START)]
    texts = [frame.text for frame in frames if isinstance(frame, TaskDelta)]
    assert (texts, frames[-1].id) == (["one two ", "three ", "four"], "1-5")


async def test_text_without_listeners_is_logged_after_a_while(
    task_id: str, writer: LogWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = writer.open(task_id, OWNER, attempt=1)
    log.start("any")
    await writer.flush()
    monkeypatch.setattr("chat.eventlog.listeners.TEXT_WAIT_SECONDS", 0.0)
    log.write("text", "")
    await writer.flush()
    assert await ids(task_id) == ["1-1", "1-2"]


async def test_starts_wait_for_other_events_or_for_a_short_while(
    task_id: str, writer: LogWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chat.eventlog.writer.START_SECONDS", 3600)
    running = asyncio.create_task(writer.run())
    first, second = writer.open(task_id, OWNER, attempt=1), writer.open(str(uuid4()), OWNER, 1)
    first.start("any")
    second.start("any")
    await asyncio.sleep(0.05)
    assert first.has_pending
    assert await ids(task_id) == []
    second.write("text", "")
    await until(lambda: not (first.has_pending or second.has_pending))
    assert await ids(task_id) == ["1-1"]
    writer = LogWriter(keep_seconds=60)
    monkeypatch.setattr("chat.eventlog.writer.START_SECONDS", 0.01)
    running.cancel()
    running = asyncio.create_task(writer.run())
    alone = writer.open(task_id, OWNER, attempt=2)
    alone.start("any")
    await until(lambda: not alone.has_pending)
    assert await ids(task_id) == ["1-1", "2-1"]
    running.cancel()


@pytest.mark.parametrize(("others", "waits"), [(0, False), (20, True)])
async def test_an_end_waits_for_the_next_round_only_where_there_is_much_to_append(
    task_id: str, writer: LogWriter, monkeypatch: pytest.MonkeyPatch, others: int, waits: bool
) -> None:
    monkeypatch.setattr("chat.eventlog.writer.MIN_INTERVAL_SECONDS", 3600)
    monkeypatch.setattr("chat.eventlog.writer.MAX_INTERVAL_SECONDS", 3600)
    # Each round takes so much of the load's share of time that an end waits for long.
    monkeypatch.setattr("chat.eventlog.writer.LOAD_SHARE", 1e-9)
    monkeypatch.setattr("chat.eventlog.writer.END_INTERVAL_SECONDS", 3600)
    running = asyncio.create_task(writer.run())
    log = writer.open(task_id, OWNER, attempt=1)
    other_logs = [writer.open(str(uuid4()), OWNER, attempt=1) for _ in range(others)]
    for started_log in (log, *other_logs):
        started_log.start("any")
    await until(lambda: not log.has_pending)
    log.end(lambda event_id: TaskCancelled(task_id=task_id, id=event_id))
    if waits:
        assert await ids(task_id) == ["1-1"]
        assert log.has_pending
    else:
        await until(lambda: not log.has_pending)
    running.cancel()


async def test_an_ended_log_is_kept_for_its_time_and_a_running_one_longer(
    task_id: str, writer: LogWriter
) -> None:
    log = writer.open(task_id, OWNER, attempt=1)
    log.start("any")
    await writer.flush()
    assert await async_redis().ttl(log_key(task_id)) > 3_600
    log.end(lambda event_id: TaskCancelled(task_id=task_id, id=event_id))
    await writer.flush()
    assert 0 < await async_redis().ttl(log_key(task_id)) <= 60


def test_how_far_the_log_of_an_attempt_went(task_id: str) -> None:
    append([started(task_id, 1), delta(task_id, 1, 2), delta(task_id, 1, 3)])
    without_log = str(uuid4())
    asked = [(task_id, 1), (task_id, 2), (without_log, 1)]
    assert eventlog.last_events(asked) == [3, 0, 0]
    assert eventlog.last_events([]) == []


async def test_a_log_that_lost_its_end_goes_on_with_a_snapshot(
    task_id: str, writer: LogWriter
) -> None:
    """As on a replica that became the master before it had received everything."""
    log = writer.open(task_id, OWNER, 1)
    log.start("any")
    log.write("one ", "")
    await writer.flush()
    client: Any = async_redis()
    replicated = await client.dump(log_key(task_id))
    log.on_listener()
    log.write("two ", "")
    await writer.flush()
    await client.restore(log_key(task_id), 0, replicated, replace=True)
    log.on_listener()
    log.write("three", "")
    await writer.flush()
    await writer.flush()
    entries = await eventlog.read(task_id, EventId(1, 2))
    assert [str(event_id) for event_id, _ in entries] == ["1-4"]
    snapshot = decode(entries[0][1])
    assert isinstance(snapshot, TaskSnapshot)
    assert snapshot.text == "one two three"


async def test_an_append_that_redis_has_no_memory_for_is_not_taken_for_an_older_attempts(
    task_id: str, loop_services: None
) -> None:
    append([started(task_id, 1)])
    client: Any = async_redis()
    await client.config_set("maxmemory", "1")
    try:
        with pytest.raises(OutOfMemoryError):
            await aappend([delta(task_id, 1, 2)])
    finally:
        await client.config_set("maxmemory", "0")
    assert outcomes(await aappend([delta(task_id, 1, 2)])) == [Outcome.APPENDED]


async def test_a_log_that_is_no_stream_is_an_error_of_its_own(
    task_id: str, loop_services: None
) -> None:
    await async_redis().set(log_key(task_id), "no stream")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await aappend([started(task_id, 1)])


async def test_appends_to_several_logs_each_have_an_outcome_of_their_own(
    task_id: str, loop_services: None
) -> None:
    other_id, lost_id = str(uuid4()), str(uuid4())
    appends = [
        started(task_id, 1),
        delta(task_id, 1, 2),
        delta(lost_id, 1, 2),
        started(other_id, 1),
        delta(task_id, 1, 3),
    ]
    found = outcomes(await aappend(appends))
    assert [outcome.name for outcome in found] == [
        "APPENDED",
        "APPENDED",
        "MISSING",
        "APPENDED",
        "APPENDED",
    ]
    assert await ids(task_id) == ["1-1", "1-2", "1-3"]
    await async_redis().delete(log_key(other_id))
