"""Turns many small awaits into few big ones.

While one batch is being handled, the items that arrive form the next. An idle process adds no
delay (a batch of one starts at once); a busy one commits hundreds of rows in one transaction.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from aily.observability import metrics

T = TypeVar("T")
R = TypeVar("R")


class Batcher(Generic[T, R]):
    """Collects items of one event loop and hands them to `handle` in order.

    `handle(items)` returns one result an item, in the same order; an Exception among the results
    is raised to its caller alone, an exception out of `handle` to all callers of that batch. With a
    `name`, the sizes of the batches are counted under it.
    """

    def __init__(
        self,
        handle: Callable[[list[T]], Awaitable[Sequence[R | Exception]]],
        *,
        max_size: int = 200,
        max_batches: int = 1,
        name: str = "",
    ) -> None:
        self._handle = handle
        self._max_size = max_size
        self._max_batches = max_batches
        self._sizes = metrics.batch_size(name) if name else None
        self._waiting: list[tuple[T, asyncio.Future[R]]] = []
        self._running: set[asyncio.Task[None]] = set()

    async def submit(self, item: T) -> R:
        """Add `item` to the next batch and wait for its result.

        Cancelling the caller does not take the item back: it may be in the database already.
        """
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        self._start_batches()
        return await future

    def _start_batches(self) -> None:
        while self._waiting and len(self._running) < self._max_batches:
            batch = self._waiting[: self._max_size]
            del self._waiting[: self._max_size]
            task = asyncio.create_task(self._run(batch))
            self._running.add(task)
            task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._start_batches()

    async def _run(self, batch: list[tuple[T, asyncio.Future[R]]]) -> None:
        # One turn of the loop lets everything that is ready in this tick join the batch.
        await asyncio.sleep(0)
        if len(batch) < self._max_size and self._waiting:
            room = self._max_size - len(batch)
            batch += self._waiting[:room]
            del self._waiting[:room]
        if self._sizes is not None:
            self._sizes.observe(len(batch))
        try:
            results = await self._handle([item for item, _ in batch])
        except Exception as error:  # noqa: BLE001 - handed to every caller of the batch
            results = [error] * len(batch)
        for (_, future), result in zip(batch, results, strict=True):
            if future.done():
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)
