"""The worker's writer of event logs: appends what all its tasks have, at a pace the load sets."""

from __future__ import annotations

import asyncio
import logging
import time

from aily.concurrency.faults import note_fault, run_for_ever
from aily.redis.errors import RedisUnavailable
from chat.eventlog.appends import Append, aappend
from chat.eventlog.keys import life_channel
from chat.eventlog.task_log import MAX_APPENDS, TaskLog
from chat.observability import metrics

logger = logging.getLogger(__name__)

#: How long the start of an attempt may wait for other events, in seconds. A round of its own would
#: wake Redis and each web process, and few clients wait for a start.
START_SECONDS = 0.04
#: Time between two appends of an idle process, in seconds.
MIN_INTERVAL_SECONDS = 0.02
#: The same under the heaviest load: sends fewer, larger frames rather than falling behind.
MAX_INTERVAL_SECONDS = 1.0
#: Share of its time that the loop spends on appending.
LOAD_SHARE = 0.25
#: After a round of no more events than these an end does not wait for the next one.
FEW_EVENTS = 3
#: After a larger one it waits as long as the load asks for, but no longer than this, and goes out
#: without the text of others.
END_INTERVAL_SECONDS = 0.05
#: After so many rounds in a row that failed, but not for Redis being away, each log has one of its
#: own: what Redis refuses of one task must not keep back the others.
MAX_FAULTS = 3


class LogWriter:
    """Appends for all tasks of a worker process together."""

    def __init__(self, keep_seconds: int) -> None:
        self._keep_seconds = keep_seconds
        self._dirty: dict[TaskLog, None] = {}
        #: When the oldest pending event was written.
        self._dirty_since = time.time()
        self._wake = asyncio.Event()
        #: Logs that have ended, which do not wait for the rest of a pause.
        self._ended: dict[TaskLog, None] = {}
        self._has_ended = asyncio.Event()
        #: Logs that have nothing but a start, and the timer that ends their waiting.
        self._starts: dict[TaskLog, None] = {}
        self._start_timer: asyncio.TimerHandle | None = None
        self._interval = MIN_INTERVAL_SECONDS
        #: What LOAD_SHARE asks for after the last round.
        self._load_interval = 0.0
        #: Rounds in a row that failed, but not for Redis being away.
        self._faults = 0
        #: One flush at a time: of two, each would remove from a log what the other appended.
        self._flushing = asyncio.Lock()

    def open(self, task_id: str, owner_id: int, attempt: int, *, is_quiet: bool = False) -> TaskLog:
        """The log of an attempt. `is_quiet`: notices go to followers of its text only."""
        channel = life_channel(task_id, owner_id, is_quiet=is_quiet)
        return TaskLog(self, task_id, channel, attempt, self._keep_seconds)

    def schedule(self, log: TaskLog) -> None:
        self._add(log, time.time())
        self._starts.pop(log, None)
        self._wake.set()

    def schedule_start(self, log: TaskLog) -> None:
        self._add(log, time.time() + START_SECONDS)
        self._starts[log] = None
        if self._start_timer is None:
            loop = asyncio.get_running_loop()
            self._start_timer = loop.call_later(START_SECONDS, self._end_waiting_of_starts)

    def _add(self, log: TaskLog, due_at: float) -> None:
        self._dirty_since = min(self._dirty_since, due_at) if self._dirty else due_at
        self._dirty[log] = None

    def _end_waiting_of_starts(self) -> None:
        self._start_timer = None
        if self._starts:
            self._starts.clear()
            self._wake.set()

    def expedite(self, log: TaskLog) -> None:
        """Append what this log has before the pause is over: it has ended."""
        self._ended[log] = None
        self._has_ended.set()

    async def run(self) -> None:
        """Append for ever; the first event after a pause leaves at once."""
        await run_for_ever("event log", self._append_once_woken)

    async def _append_once_woken(self) -> None:
        await self._wake.wait()
        self._wake.clear()
        appended = await self._flush_and_set_pace(self._dirty)
        await self._pause(self._interval, ends_expedite=0 < appended <= FEW_EVENTS)

    async def _pause(self, seconds: float, *, ends_expedite: bool) -> None:
        """Ends wait for a short while only or, when they `ends_expedite`, end the pause."""
        loop = asyncio.get_running_loop()
        over_at = loop.time() + seconds
        while (left := over_at - loop.time()) > 0:
            try:
                async with asyncio.timeout(left):
                    await self._has_ended.wait()
            except TimeoutError:
                return
            if ends_expedite:
                return
            left = over_at - loop.time()
            await asyncio.sleep(min(left, self._load_interval, END_INTERVAL_SECONDS))
            await self._flush_and_set_pace({**self._ended, **self._starts})

    async def _flush_and_set_pace(self, logs: dict[TaskLog, None]) -> int:
        started = time.perf_counter()
        try:
            appended = await self.flush(list(logs))
        except Exception as error:  # noqa: BLE001 - logged; kept, and sent again
            if isinstance(error, RedisUnavailable):
                logger.warning("event log: Redis is away (%s); trying again", error)
            else:
                note_fault("event log")
            self._interval = self._load_interval = MAX_INTERVAL_SECONDS
            return 0
        self._load_interval = (time.perf_counter() - started) / LOAD_SHARE
        wanted = max(self._load_interval, MIN_INTERVAL_SECONDS)
        self._interval = min(wanted, MAX_INTERVAL_SECONDS)
        return appended

    async def flush(self, logs: list[TaskLog] | None = None) -> int:
        """Append what is pending now, in `logs` or in all, and return the number of events. While
        Redis is away it keeps what it could not send. What another flush is appending is appended
        when this one returns."""
        async with self._flushing:
            return await self._flush(list(self._dirty) if logs is None else logs)

    async def _flush(self, logs: list[TaskLog]) -> int:
        since = min(self._dirty_since, time.time())
        for log in logs:
            for waiting in (self._dirty, self._ended, self._starts):
                waiting.pop(log, None)
        if not self._ended:
            self._has_ended.clear()
        if len(self._dirty) == len(self._starts):
            self._wake.clear()
        try:
            with metrics.APPEND_SECONDS.time():
                if self._faults < MAX_FAULTS:
                    appended = await self._append_all(logs, since)
                else:
                    appended = await self._append_each(logs, since)
        except BaseException as error:
            # Sending again is safe: ids make a repeated append a no-op.
            self._dirty.update(dict.fromkeys(logs))
            self._dirty_since = since
            self._wake.set()
            self._faults += not isinstance(error, RedisUnavailable)
            raise
        self._faults = 0
        return appended

    async def _append_each(self, logs: list[TaskLog], since: float) -> int:
        """Give up those alone that Redis does not take. Raises RedisUnavailable."""
        appended = 0
        for log in logs:
            try:
                appended += await self._append_all([log], since)
            except RedisUnavailable:
                raise
            except Exception:  # noqa: BLE001 - logged
                note_fault("event log")
                log.give_up()
        return appended

    async def _append_all(self, logs: list[TaskLog], since: float) -> int:
        batch: list[tuple[TaskLog, list[Append]]] = []
        size = appended = 0
        for log in logs:
            pending = log.take_pending()
            if size and size + len(pending) > MAX_APPENDS:
                await self._append(batch, since)
                batch, size = [], 0
            batch.append((log, pending))
            size += len(pending)
            appended += len(pending)
        if size:
            await self._append(batch, since)
        return appended

    async def _append(self, batch: list[tuple[TaskLog, list[Append]]], since: float) -> None:
        appended = await aappend([append for _, pending in batch for append in pending], since)
        position = 0
        for log, pending in batch:
            log.note_appended(appended[position : position + len(pending)])
            position += len(pending)
            if log.has_pending:
                self.schedule(log)


class LogWriters:
    """The two writers of a worker process. Many tasks of lane batch end at once: people's events do
    not wait for rounds with theirs, which are large."""

    def __init__(self, keep_seconds: int) -> None:
        self.people = LogWriter(keep_seconds)
        self.bulk = LogWriter(keep_seconds)

    async def run(self) -> None:
        """Append for ever."""
        await asyncio.gather(self.people.run(), self.bulk.run())

    async def flush(self) -> None:
        """Append all that is pending now. Raises as `LogWriter.flush`."""
        await asyncio.gather(self.people.flush(), self.bulk.flush())
