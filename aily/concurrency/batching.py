"""Handles many small requests in few batches.

While one batch is being handled, the items that arrive form the next. An idle process adds no
delay (a batch of one starts at once); a busy one commits hundreds of rows in one transaction. With
a `Pace` batches grow before the process is out of CPU time.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from aily.concurrency.faults import is_cancelled
from aily.concurrency.jobs import Jobs
from aily.observability import metrics
from aily.problems import Problem

#: A batch counts so much in the mean size of the last ones.
_WEIGHT = 0.1
#: The rate of items is one of about so many seconds.
_RATE_SECONDS = 1.0
#: From this mean size on an item may expect company.
_COMPANY = 1.5
#: Timers of an event loop are this coarse, in seconds: what is due within it is due.
_TICK = 0.001
#: A batch of fewer items is never taken for complete.
_COMPLETE = 8
#: Nor is one that the next item would join after no more than this many times the usual distance.
_DISTANCES = 3

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Pace:
    """Keeps batches apart in time, so that under load they are few and large: the fixed cost of a
    batch is many times that of an item. The first batch after a pause starts at once.

    Batches start `min_seconds` apart or, if handling one takes longer, so far apart that handling
    takes `share` of the time, but no more than `max_seconds`. A full batch does not wait.

    What ends or begins together comes together, but not in the same moment: answers that are sent
    in a row bring the next requests in a row. So where batches have had several items of late, also
    the first one after a pause waits for the others: until none has come for `gather_seconds`, but
    no longer than `gather_max_seconds`. And a batch as large as those of late starts before its
    time once no item came for `quiet_seconds`, if that is long beside the time between its items:
    those who have sent the items of the last batch have all come back.
    """

    min_seconds: float = 0.025
    share: float = 0.05
    max_seconds: float = 0.06
    gather_seconds: float = 0.01
    gather_max_seconds: float = 0.01
    quiet_seconds: float = 0.003

    def after(self, busy_seconds: float) -> float:
        """Seconds from the start of a batch that took this long to the next."""
        return min(max(busy_seconds / self.share, self.min_seconds), self.max_seconds)


class Batcher(Generic[T, R]):
    """Collects items of one event loop and hands them to `handle` in order.

    `handle(items)` returns one result an item, in the same order; an Exception among the results
    is raised to its caller alone, an exception out of `handle` to all callers of that batch. With a
    `name`, the sizes of the batches are counted under it. A `pace` may be a function of how many
    items come a second: where few do, waiting for others gains little.
    """

    def __init__(
        self,
        handle: Callable[[list[T]], Awaitable[Sequence[R | Exception]]],
        *,
        max_size: int = 200,
        max_batches: int = 1,
        name: str = "",
        pace: Pace | Callable[[float], Pace] | None = None,
    ) -> None:
        self._handle = handle
        self._max_size = max_size
        self._max_batches = max_batches
        self._sizes = metrics.batch_size(name) if name else None
        self._pace_by_rate = pace if callable(pace) else None
        self._pace = pace(0.0) if callable(pace) else pace
        #: Items a second of late, and when they were counted (the loop's time).
        self._rate = self._counted_at = 0.0
        self._next_at = 0.0
        #: Of the batches of late.
        self._mean_size = 1.0
        self._waiting: list[tuple[T, asyncio.Future[R]]] = []
        #: When the first and the last of them came (the loop's time).
        self._first_at = self._arrived_at = 0.0
        #: While the next batch is too small: done once `_wanted_size` items wait.
        self._grown: asyncio.Future[None] | None = None
        self._wanted_size = 0.0
        self._batches = Jobs("a batch", on_done=self._start_batch)
        #: One of the running batches has not begun: it takes the items that arrive until then.
        self._is_collecting = False

    async def submit(self, item: T) -> R:
        """Add `item` to the next batch and wait for its result.

        Cancelling the caller does not take the item back: it may be in the database already.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[R] = loop.create_future()
        self._arrived_at = loop.time()
        if not self._waiting:
            self._first_at = self._arrived_at
        self._waiting.append((item, future))
        if self._grown is not None and len(self._waiting) >= self._wanted_size:
            _wake(self._grown)
        self._start_batch()
        try:
            return await future
        finally:
            # An exception refers to this frame. Without what refers to the exception, and to what
            # a refused caller sent, that is freed at once: the garbage collector comes seldom.
            del future, item

    def _start_batch(self) -> None:
        if self._waiting and not self._is_collecting and len(self._batches) < self._max_batches:
            self._is_collecting = True
            self._batches.spawn(self._run())

    async def _run(self) -> None:
        try:
            await self._run_next()
        except asyncio.CancelledError:
            if is_cancelled():
                # The loop ends: waiting items would start another batch on it.
                _hand_out(self._waiting, ())
                self._waiting.clear()
            raise

    async def _run_next(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            await self._collect(loop)
        finally:
            self._is_collecting = False
        batch = self._waiting[: self._max_size]
        del self._waiting[: self._max_size]
        self._first_at = began = loop.time()
        if self._pace is not None:
            self._next_at = began + self._pace.min_seconds
        self._mean_size += (len(batch) - self._mean_size) * _WEIGHT
        if self._pace_by_rate is not None:
            self._count(len(batch), began)
            self._pace = self._pace_by_rate(self._rate)
        self._start_batch()
        await self._run_batch(batch)
        if self._pace is not None:
            self._next_at = max(self._next_at, began + self._pace.after(loop.time() - began))

    def _count(self, items: int, now: float) -> None:
        """Count items that came since the last count, as if evenly."""
        seconds = max(now - self._counted_at, _TICK)
        weight = 1 - math.exp(-seconds / _RATE_SECONDS)
        self._rate += (items / seconds - self._rate) * weight
        self._counted_at = now

    async def _collect(self, loop: asyncio.AbstractEventLoop) -> None:
        """Return when the next batch is due: by the pace, or before if it is full or complete."""
        # Even a sleep of 0 lets everything that is ready in this tick join the batch.
        await asyncio.sleep(0)
        pace = self._pace
        if pace is None:
            return
        began = loop.time()
        # The pace is known anew when a batch that is handled meanwhile has ended.
        while (left := max(self._next_at, self._gathered_at(pace, began)) - loop.time()) > _TICK:
            if len(self._waiting) >= self._max_size:
                return
            complete_size = max(self._mean_size, _COMPLETE)
            if len(self._waiting) < complete_size:
                await self._grow(loop, complete_size, left)
            elif (quiet_seconds := self._quiet_until(pace) - loop.time()) > 0:
                await asyncio.sleep(min(left, quiet_seconds))
            else:
                return

    def _gathered_at(self, pace: Pace, began: float) -> float:
        """When those that come together have come, unless another item comes before."""
        if self._mean_size <= _COMPANY:
            return began
        return min(self._arrived_at + pace.gather_seconds, began + pace.gather_max_seconds)

    def _quiet_until(self, pace: Pace) -> float:
        """When a batch that is large enough is complete, unless another item comes before."""
        distance = (self._arrived_at - self._first_at) / max(len(self._waiting) - 1, 1)
        return self._arrived_at + max(pace.quiet_seconds, _DISTANCES * distance)

    async def _grow(self, loop: asyncio.AbstractEventLoop, size: float, seconds: float) -> None:
        """Return once so many items wait, or after the time."""
        self._wanted_size = size
        grown = self._grown = loop.create_future()
        timer = loop.call_later(seconds, _wake, grown)
        try:
            await grown
        finally:
            timer.cancel()
            self._grown = None

    async def _run_batch(self, batch: list[tuple[T, asyncio.Future[R]]]) -> None:
        """Handle the batch. Each caller gets a result or an exception, whatever happens."""
        results: Sequence[R | Exception] = ()
        try:
            if self._sizes is not None:
                self._sizes.observe(len(batch))
            results = await self._handle([item for item, _ in batch])
        except Exception as error:  # noqa: BLE001 - handed to every caller of the batch
            results = [error] * len(batch)
        finally:
            # `results` is empty if this batch was cancelled.
            _hand_out(batch, results)


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _hand_out(
    batch: Sequence[tuple[T, asyncio.Future[R]]], results: Sequence[R | Exception]
) -> None:
    if len(results) != len(batch):
        results = [RuntimeError(f"{len(results)} results for {len(batch)} items")] * len(batch)
    for (_, future), result in zip(batch, results, strict=True):
        if future.done():
            continue
        if isinstance(result, StopIteration):
            # A future cannot carry it.
            future.set_exception(RuntimeError("StopIteration"))
        elif isinstance(result, Exception):
            if isinstance(result, Problem):
                # A refusal, no fault: its traceback is of no use, and its frames hold the whole
                # batch.
                result.__traceback__ = None
            future.set_exception(result)
        else:
            future.set_result(result)
