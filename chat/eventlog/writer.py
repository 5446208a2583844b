"""The worker's side of the event log: coalesces deltas and appends them, many tasks at a time."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable

import msgspec

from aily.concurrency.faults import note_fault, run_for_ever
from aily.redis.errors import RedisUnavailable
from chat.eventlog.log import Append, Appended, aappend
from chat.events import (
    Event,
    EventId,
    TaskDelta,
    TaskSnapshot,
    TaskStarted,
    cut,
    encode,
    retold,
    text_channel,
    user_channel,
)
from chat.observability import metrics

logger = logging.getLogger(__name__)

#: Time between two appends of an idle process, in seconds.
MIN_INTERVAL_SECONDS = 0.02
#: The same under the heaviest load: sends fewer, larger frames rather than falling behind.
MAX_INTERVAL_SECONDS = 1.0
#: Share of its time that the loop spends on appending.
LOAD_SHARE = 0.25
#: Events in one round trip: bounds how long the script keeps Redis busy.
MAX_APPENDS = 500
#: After a round of no more events than these an end does not wait for the next one.
FEW_EVENTS = 3
#: After a larger one it waits this long, and goes out without the text of others.
END_INTERVAL_SECONDS = 0.05
#: Text that nobody listens to is kept back until somebody does, but no longer than this: where the
#: word that somebody does is lost, the text comes this much later, once.
UNHEARD_SECONDS = 30.0
#: After so many rounds in a row that failed, but not for Redis being away, each log has one of its
#: own: what Redis refuses of one task must not keep back the others.
MAX_FAULTS = 3
#: A running task's log outlives any call; the end sets the final expiry.
RUNNING_KEEP_SECONDS = 86_400


class TaskLog:
    """What one attempt writes. Ids are given out here, in order, so they are known at once."""

    def __init__(
        self, writer: LogWriter, task_id: str, owner_id: int, attempt: int, keep_seconds: int
    ) -> None:
        self.task_id = task_id
        self.attempt = attempt
        self.is_refused = False
        #: Whether somebody listened when the log was created, or to the text appended last; true
        #: before that is known.
        self.is_heard = True
        #: Somebody listens since what is under way was sent.
        self._has_new_listener = False
        #: Called once when a newer attempt owns the log.
        self.on_refused: Callable[[], None] | None = None
        self._writer = writer
        self._user_channel = user_channel(owner_id)
        self._text_channel = text_channel(task_id)
        self._keep_seconds = keep_seconds
        self._n = 0
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._unsent_text: list[str] = []
        self._unsent_reasoning: list[str] = []
        self._pending: list[Append] = []
        self._is_given_up = False
        #: When text was turned into an event last.
        self._coalesced_at = time.monotonic()

    @property
    def last_event(self) -> int:
        """n of the last event given an id."""
        return self._n

    @property
    def text(self) -> str:
        return "".join(self._text)

    @property
    def reasoning(self) -> str:
        return "".join(self._reasoning)

    def next_id(self) -> str:
        self._n += 1
        return f"{self.attempt}-{self._n}"

    def start(self, model: str) -> None:
        event = TaskStarted(
            task_id=self.task_id, id=self.next_id(), attempt=self.attempt, model=model
        )
        self._add(event, self._user_channel, create=True, keep_seconds=RUNNING_KEEP_SECONDS)
        self._writer.schedule(self)

    def write(self, text: str, reasoning: str) -> None:
        """Add to the answer; it leaves with the writer's next round, if it is heard."""
        if text:
            self._text.append(text)
            self._unsent_text.append(text)
        if reasoning:
            self._reasoning.append(reasoning)
            self._unsent_reasoning.append(reasoning)
        if self.is_heard or time.monotonic() - self._coalesced_at > UNHEARD_SECONDS:
            self._writer.schedule(self)

    def listened_to(self) -> None:
        """Somebody says that they listen from now on."""
        self.is_heard = self._has_new_listener = True
        self._writer.schedule(self)

    def seal(self) -> None:
        """Turn what is unsent into its last delta: `last_event` is then that of the text.

        Where nobody listens it leaves with the end.
        """
        self._coalesce()
        if self.is_heard:
            self._writer.schedule(self)

    def end(self, make_event: Callable[[str], Event]) -> None:
        """Append the terminal event. Only after its row is committed."""
        self._coalesce()
        self._add(make_event(self.next_id()), self._user_channel, keep_seconds=self._keep_seconds)
        self._writer.schedule(self)
        self._writer.hurry(self)

    def tell(self, others: Iterable[tuple[str, int]], event: Event) -> None:
        """Tell the readers of other tasks, (task id, owner id), that this is their end as well.

        After all that is in this log already; kept in none.
        """
        frame, event_id = encode(event), EventId.parse(event.id)
        for task_id, owner_id in others:
            told = retold(frame, event.task_id, task_id)
            channel = user_channel(owner_id)
            self._pending.append(Append(task_id, event_id, told, channel, is_logged=False))
        self._writer.schedule(self)

    def _add(
        self, event: Event, channel: str, *, create: bool = False, keep_seconds: int = 0
    ) -> None:
        event_id = EventId(self.attempt, self._n)
        self._pending.append(
            Append(self.task_id, event_id, encode(event), channel, create, keep_seconds)
        )

    def _coalesce(self) -> None:
        if not (self._unsent_text or self._unsent_reasoning):
            return
        unsent = "".join(self._unsent_text), "".join(self._unsent_reasoning)
        self._unsent_text.clear()
        self._unsent_reasoning.clear()
        self._coalesced_at = time.monotonic()
        for text, reasoning in cut(*unsent):
            event = TaskDelta(
                task_id=self.task_id, id=self.next_id(), text=text, reasoning=reasoning
            )
            self._add(event, self._text_channel)

    @property
    def has_pending(self) -> bool:
        return bool(self._pending)

    # --- Called by the writer -------------------------------------------------------------------
    def take_pending(self) -> list[Append]:
        """A copy, as more may be added while these are under way; no more than one round takes."""
        self._coalesce()
        if self._is_given_up:
            self._pending.clear()
        return self._pending[:MAX_APPENDS]

    def settle(self, outcomes: list[Appended]) -> None:
        """Note what became of the first pending events."""
        if Appended.REFUSED in outcomes:
            self._refuse()
            return
        if Appended.MISSING in outcomes:
            self._reseed(outcomes.index(Appended.MISSING))
            return
        settled = zip(self._pending, outcomes, strict=False)
        texts = [
            outcome for one, outcome in settled if one.create or one.channel == self._text_channel
        ]
        if texts:
            self.is_heard = texts[-1] is not Appended.DONE or self._has_new_listener
            self._has_new_listener = False
        del self._pending[: len(outcomes)]

    def give_up(self) -> None:
        """Append nothing more: Redis does not take it. Readers are told the end by the row."""
        self._is_given_up = True
        self._pending.clear()

    def _refuse(self) -> None:
        self._pending.clear()
        if not self.is_refused:
            self.is_refused = True
            if self.on_refused is not None:
                self.on_refused()

    def _reseed(self, first_missing: int) -> None:
        """Redis lost the log: a snapshot of the whole text creates it again.

        It takes the place of the first delta that Redis lacks. Later deltas are in it already; they
        stay as empty ones, so that ids keep following each other. Where only the end is lacking, it
        takes the place before that, which those who had seen it there do not read again.
        """
        del self._pending[:first_missing]
        place = self._pending[0].event_id
        if self._pending[0].channel == self._text_channel:
            del self._pending[0]
        else:
            place = EventId(place.attempt, place.n - 1)
        snapshot = Append(
            self.task_id,
            place,
            encode(self._snapshot(place)),
            self._text_channel,
            create=True,
            keep_seconds=RUNNING_KEEP_SECONDS,
        )
        self._pending = [snapshot, *map(self._emptied, self._pending)]

    def _snapshot(self, place: EventId) -> TaskSnapshot:
        return TaskSnapshot(
            task_id=self.task_id,
            id=str(place),
            text=self._sent_text(),
            reasoning=self._sent_reasoning(),
        )

    def _emptied(self, one: Append) -> Append:
        if one.channel != self._text_channel:
            return one
        event = TaskDelta(task_id=self.task_id, id=str(one.event_id), text="", reasoning="")
        return msgspec.structs.replace(one, frame=encode(event))

    def _sent_text(self) -> str:
        return self.text.removesuffix("".join(self._unsent_text))

    def _sent_reasoning(self) -> str:
        return self.reasoning.removesuffix("".join(self._unsent_reasoning))


class LogWriter:
    """One a worker process. Appends for all its tasks together, at a pace the load sets."""

    def __init__(self, keep_seconds: int) -> None:
        self._keep_seconds = keep_seconds
        self._dirty: dict[TaskLog, None] = {}
        #: When the oldest of what is to be appended was written.
        self._dirty_since = time.time()
        self._wake = asyncio.Event()
        #: Those that have ended, and are not to wait for the rest of a pause.
        self._ended: dict[TaskLog, None] = {}
        self._has_ended = asyncio.Event()
        self._interval = MIN_INTERVAL_SECONDS
        #: Rounds in a row that failed, but not for Redis being away.
        self._faults = 0

    def open(self, task_id: str, owner_id: int, attempt: int) -> TaskLog:
        return TaskLog(self, task_id, owner_id, attempt, self._keep_seconds)

    def schedule(self, log: TaskLog) -> None:
        if not self._dirty:
            self._dirty_since = time.time()
        self._dirty[log] = None
        self._wake.set()

    def hurry(self, log: TaskLog) -> None:
        """Append what this log has soon: it has ended."""
        self._ended[log] = None
        self._has_ended.set()

    async def run(self) -> None:
        """Append for ever; the first event after a pause leaves at once."""
        await run_for_ever("event log", self._append_once_woken)

    async def _append_once_woken(self) -> None:
        await self._wake.wait()
        self._wake.clear()
        appended = await self._flush_and_set_pace(self._dirty)
        await self._pause(self._interval, may_hurry=0 < appended <= FEW_EVENTS)

    async def _pause(self, seconds: float, *, may_hurry: bool) -> None:
        """Ends wait for a short while only or, when they `may_hurry`, end the pause."""
        loop = asyncio.get_running_loop()
        over_at = loop.time() + seconds
        while (left := over_at - loop.time()) > 0:
            try:
                async with asyncio.timeout(left):
                    await self._has_ended.wait()
            except TimeoutError:
                return
            if may_hurry:
                return
            await asyncio.sleep(min(over_at - loop.time(), END_INTERVAL_SECONDS))
            await self._flush_and_set_pace(self._ended)

    async def _flush_and_set_pace(self, logs: dict[TaskLog, None]) -> int:
        started = time.perf_counter()
        try:
            appended = await self.flush(list(logs))
        except Exception as error:  # noqa: BLE001 - logged; kept, and sent again
            if isinstance(error, RedisUnavailable):
                logger.warning("event log: Redis is away (%s); trying again", error)
            else:
                note_fault("event log")
            self._wake.set()
            self._interval = MAX_INTERVAL_SECONDS
            return 0
        wanted = (time.perf_counter() - started) / LOAD_SHARE
        self._interval = min(max(wanted, MIN_INTERVAL_SECONDS), MAX_INTERVAL_SECONDS)
        return appended

    async def flush(self, logs: list[TaskLog] | None = None) -> int:
        """Append what is pending now, in `logs` or in all, and give its number. While Redis is away
        it keeps what it could not send."""
        logs, since = list(self._dirty) if logs is None else logs, self._dirty_since
        for log in logs:
            self._dirty.pop(log, None)
            self._ended.pop(log, None)
        if not self._ended:
            self._has_ended.clear()
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
        outcomes = await aappend([one for _, pending in batch for one in pending], since)
        position = 0
        for log, pending in batch:
            log.settle(outcomes[position : position + len(pending)])
            position += len(pending)
            if log.has_pending:
                self.schedule(log)
