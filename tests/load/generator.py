"""The load generator: a process of its own with one event loop and as little work as possible.

It is given a Load on stdin, connects, waits for the line `go`, submits, and writes a Recording to
the file it was told. All judging is the bench's, afterwards.
"""

from __future__ import annotations

import asyncio
import resource
import sys
import time
from contextlib import suppress
from pathlib import Path

import aiohttp
import msgspec

from tests.load.recording import MODEL, SCENE, Load, Progress, Recording, TaskRecord, text_of

_CONNECTS_AT_ONCE = 64
_PROGRESS_SECONDS = 0.25
_TIMER_SECONDS = 0.02
#: Time for a frame that should not come: a second end, somebody else's event.
_LINGER_SECONDS = 1.0
_ENDS = frozenset({"task.completed", "task.failed", "task.cancelled", "task.expired"})
_clock = time.monotonic


class _Head(msgspec.Struct):
    """The fields of a frame that tell whose it is; the others are skipped undecoded."""

    type: str
    ref: str | None = None
    task_id: str = ""


_heads = msgspec.json.Decoder(_Head)


class Client:
    """One socket of one user."""

    def __init__(self, generator: Generator, key: str) -> None:
        self._generator = generator
        self._key = key
        self._by_task_id: dict[str, TaskRecord] = {}
        self._accepted: dict[int, asyncio.Event] = {}

    async def connect(self, session: aiohttp.ClientSession) -> None:
        self._socket = await session.ws_connect(
            self._generator.load.url,
            headers={"Authorization": f"Bearer {self._key}"},
            max_msg_size=0,
        )
        hello = await self._socket.receive_str()
        assert _heads.decode(hello).type == "hello", hello

    async def submit(self, number: int) -> None:
        record = TaskRecord(number, sent_at=_clock())
        self._generator.records[number] = record
        frame = {
            "type": "task.submit",
            "ref": str(number),
            "scene": SCENE,
            "model": MODEL,
            "variables": {"text": text_of(number)},
            "stream": self._generator.load.stream,
        }
        await self._socket.send_str(msgspec.json.encode(frame).decode())

    async def submit_one_by_one(self, numbers: range) -> None:
        for number in numbers:
            accepted = self._accepted[number] = asyncio.Event()
            await self.submit(number)
            await accepted.wait()

    async def read(self) -> None:
        """Until the socket closes."""
        async for message in self._socket:
            now = _clock()
            if message.type is not aiohttp.WSMsgType.TEXT:
                break
            self._take(message.data, now)
        self._generator.errors.append(f"a socket closed with {self._socket.close_code}")

    def _take(self, frame: str, now: float) -> None:
        head = _heads.decode(frame)
        if head.type == "task.accepted" and head.ref is not None:
            self._take_accepted(int(head.ref), head.task_id, now)
        elif (record := self._by_task_id.get(head.task_id)) is not None:
            record.frames.append(frame)
            if head.type in _ENDS and record.ended_at is None:
                record.ended_at = now
                self._generator.note_end()
        else:
            self._generator.errors.append(frame)

    def _take_accepted(self, number: int, task_id: str, now: float) -> None:
        record = self._generator.records[number]
        if record.accepted_at is not None:
            self._generator.errors.append(f"task {number} was accepted twice")
            return
        record.task_id, record.accepted_at = task_id, now
        self._by_task_id[task_id] = record
        self._generator.note_accepted()
        if number in self._accepted:
            self._accepted.pop(number).set()

    async def close(self) -> None:
        await self._socket.close()


class Generator:
    """All sockets and records of one run."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.records: dict[int, TaskRecord] = {}
        self.errors: list[str] = []
        self._clients = [Client(self, key) for key in load.keys]
        self._progress = Progress("connecting")
        self._timer_lags: list[float] = []
        self._finished = asyncio.Event()

    def note_accepted(self) -> None:
        self._progress.accepted += 1
        if not self.load.wait_for_end and self._progress.accepted == self.load.tasks:
            self._finished.set()

    def note_end(self) -> None:
        self._progress.ended += 1
        if self._progress.ended == self.load.tasks:
            self._finished.set()

    async def run(self) -> Recording:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:
            reporter = asyncio.create_task(self._report_for_ever())
            await self._connect(session)
            readers = [asyncio.create_task(client.read()) for client in self._clients]
            self._enter("ready")
            await asyncio.to_thread(sys.stdin.readline)
            recording = await self._measure()
            for reader in readers:
                reader.cancel()
            reporter.cancel()
            await asyncio.gather(*(client.close() for client in self._clients))
        return recording

    async def _connect(self, session: aiohttp.ClientSession) -> None:
        slots = asyncio.Semaphore(_CONNECTS_AT_ONCE)

        async def connect(client: Client) -> None:
            async with slots:
                await client.connect(session)
                self._progress.connected += 1

        await asyncio.gather(*(connect(client) for client in self._clients))

    async def _measure(self) -> Recording:
        self._progress.phase = "running"
        timer = asyncio.create_task(self._watch_timers())
        started_at = _clock()
        with suppress(TimeoutError):
            async with asyncio.timeout(self.load.timeout_seconds):
                await self._submit_all()
                await self._finished.wait()
        ended_at = _clock()
        timer.cancel()
        self._enter("ended")
        await asyncio.sleep(_LINGER_SECONDS)
        return Recording(
            started_at=started_at,
            ended_at=ended_at,
            unix_offset=time.time() - _clock(),
            tasks=sorted(self.records.values(), key=lambda record: record.number),
            errors=self.errors,
            timer_lags_seconds=self._timer_lags,
        )

    async def _submit_all(self) -> None:
        tasks, clients = self.load.tasks, self._clients
        if self.load.ramp_seconds is None:
            numbers = [range(i, tasks, len(clients)) for i in range(len(clients))]
            pairs = zip(clients, numbers, strict=True)
            await asyncio.gather(*(client.submit_one_by_one(own) for client, own in pairs))
            self._progress.submitted = tasks
            return
        started_at, pause = _clock(), self.load.ramp_seconds / tasks
        for number in range(tasks):
            ahead = started_at + number * pause - _clock()
            if ahead > 0:
                await asyncio.sleep(ahead)
            await clients[number % len(clients)].submit(number)
            self._progress.submitted = number + 1

    async def _watch_timers(self) -> None:
        while True:
            wanted = _clock() + _TIMER_SECONDS
            await asyncio.sleep(_TIMER_SECONDS)
            self._timer_lags.append(_clock() - wanted)

    # --- Talking to the bench -------------------------------------------------------------------
    async def _report_for_ever(self) -> None:
        while True:
            self._report()
            await asyncio.sleep(_PROGRESS_SECONDS)

    def _enter(self, phase: str) -> None:
        self._progress.phase = phase
        self._report()

    def _report(self) -> None:
        print(msgspec.json.encode(self._progress).decode(), flush=True)


def main() -> None:
    """Argument: the file for the recording (MessagePack). The first line of stdin is the Load."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    load = msgspec.json.decode(sys.stdin.readline(), type=Load)
    recording = asyncio.run(Generator(load).run())
    Path(sys.argv[1]).write_bytes(msgspec.msgpack.encode(recording))
    print(msgspec.json.encode(Progress("written")).decode(), flush=True)


if __name__ == "__main__":
    main()
