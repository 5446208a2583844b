"""The load generator: a process of its own with one event loop and as little work as possible.

It is given a Target on stdin and connects. Then each line of stdin is a Wave, which it sends; the
Recording of wave n goes to the file `<argument>-<n>`. All judging is the bench's, afterwards.
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
import uvloop

from tests.load.clients import Client, RestClient, SocketClient, clock
from tests.load.recording import Progress, Recording, Target, TaskRecord, Wave

_CONNECTS_AT_ONCE = 64
_PROGRESS_SECONDS = 0.25
_OTHER_FILES = 50
_TIMER_SECONDS = 0.02
#: Time for a frame that should not come: a second end, somebody else's event.
_LINGER_SECONDS = 1.0


class Generator:
    """All users and the records of the wave under way."""

    def __init__(self, target: Target, file: Path) -> None:
        self._target = target
        self._file = file
        self._sockets = [SocketClient(self, key) for key in target.keys if target.sockets]
        self._clients: list[Client] = [*self._sockets]
        self.wave = Wave(tasks=0, timeout_seconds=0)
        self._progress = Progress("connecting")
        self._begin(self.wave)

    def _begin(self, wave: Wave) -> None:
        self.wave = wave
        self._records: dict[int, TaskRecord] = {}
        self._errors: list[str] = []
        self._timer_lags: list[float] = []
        self._finished = asyncio.Event()
        self._progress = Progress(
            self._progress.phase, self._progress.connected, self._progress.refused
        )

    # --- What the clients write down ------------------------------------------------------------
    def note_sent(self, record: TaskRecord) -> None:
        self._records[record.number] = record
        self._progress.submitted += 1

    def record_of(self, number: int) -> TaskRecord:
        return self._records[number]

    def note_accepted(self) -> None:
        self._progress.accepted += 1
        if not self.wave.wait_for_end and self._progress.accepted == self.wave.tasks:
            self._finished.set()

    def note_end(self) -> None:
        self._progress.ended += 1
        if self._progress.ended == self.wave.tasks:
            self._finished.set()

    def note_error(self, error: str) -> None:
        self._errors.append(error)

    # --- A run ----------------------------------------------------------------------------------
    async def run(self) -> None:
        reporter = asyncio.create_task(self._report_for_ever())
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:
            if self._target.sockets:
                await self._connect()
            else:
                url = self._target.base_url
                self._clients = [RestClient(self, key, session, url) for key in self._target.keys]
            self._enter("ready")
            number = 0
            while line := await asyncio.to_thread(sys.stdin.readline):
                await self._send(msgspec.json.decode(line, type=Wave), number)
                number += 1
            for socket in self._sockets:
                socket.close()
        reporter.cancel()

    async def _connect(self) -> None:
        slots = asyncio.Semaphore(_CONNECTS_AT_ONCE)

        async def connect(client: SocketClient) -> None:
            async with slots:
                self._progress.refused += await client.connect(self._target.base_url)
                self._progress.connected += 1

        await asyncio.gather(*(connect(client) for client in self._sockets))

    async def _send(self, wave: Wave, number: int) -> None:
        self._begin(wave)
        self._enter("running")
        timer = asyncio.create_task(self._watch_timers())
        started_at = clock()
        with suppress(TimeoutError):
            async with asyncio.timeout(wave.timeout_seconds):
                await self._submit_all(wave)
                await self._finished.wait()
        ended_at = clock()
        timer.cancel()
        self._enter("ended")
        await asyncio.sleep(_LINGER_SECONDS)
        recording = Recording(
            started_at=started_at,
            ended_at=ended_at,
            unix_offset=time.time() - clock(),
            tasks=sorted(self._records.values(), key=lambda record: record.number),
            errors=self._errors,
            timer_lags_seconds=self._timer_lags,
        )
        file = Path(f"{self._file}-{number}")
        await asyncio.to_thread(file.write_bytes, msgspec.msgpack.encode(recording))
        self._enter("written")

    async def _submit_all(self, wave: Wave) -> None:
        clients = self._clients
        numbers = range(wave.first_number, wave.first_number + wave.tasks)
        if wave.ramp_seconds is None:
            turns = [numbers[i :: len(clients)] for i in range(len(clients))]
            pairs = zip(clients, turns, strict=True)
            await asyncio.gather(*(client.submit_in_turn(own) for client, own in pairs))
            return
        started_at, pause = clock(), wave.ramp_seconds / max(wave.tasks, 1)
        for index, number in enumerate(numbers):
            ahead = started_at + index * pause - clock()
            # Also when it is late: what comes back meanwhile must be stamped.
            if ahead > 0 or index % 16 == 0:
                await asyncio.sleep(max(ahead, 0))
            clients[number % len(clients)].submit(number)

    async def _watch_timers(self) -> None:
        while True:
            wanted = clock() + _TIMER_SECONDS
            await asyncio.sleep(_TIMER_SECONDS)
            self._timer_lags.append(clock() - wanted)

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
    """Argument: where recordings go (MessagePack). The first line of stdin is the Target."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    target = msgspec.json.decode(sys.stdin.readline(), type=Target)
    if hard != resource.RLIM_INFINITY and len(target.keys) + _OTHER_FILES > hard:
        raise SystemExit(f"{len(target.keys)} sockets, but only {hard} open files (ulimit -n)")
    uvloop.run(Generator(target, Path(sys.argv[1])).run())


if __name__ == "__main__":
    main()
