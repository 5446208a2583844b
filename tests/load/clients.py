"""The load generator's users, as cheap as they can be: they are not what is measured.

A received frame costs 8 µs with picows, against 37 µs with websockets (18 µs on uvloop).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from itertools import count
from typing import Any, Protocol

import aiohttp
import msgspec
from picows import WSError, WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from tests.load.recording import MODEL, SCENE, TaskRecord, Wave

#: picows takes 16 KiB a socket unless told otherwise. It grows where a frame is larger.
_READ_BUFFER_BYTES = 1024
_HANDSHAKE_SECONDS = 60
_MOST_REFUSALS = 5
_ENDS = frozenset({"task.completed", "task.failed", "task.cancelled", "task.expired"})
clock = time.monotonic


class _Head(msgspec.Struct):
    """The fields of a frame that tell whose it is; the others are skipped undecoded."""

    type: str
    ref: str | None = None
    task_id: str = ""


class _Accepted(msgspec.Struct):
    """REST's answer to a submit."""

    task_id: str


_heads = msgspec.json.Decoder(_Head)
_accepted = msgspec.json.Decoder(_Accepted)


class Book(Protocol):
    """Where clients write down what they see."""

    wave: Wave

    def note_sent(self, record: TaskRecord) -> None: ...
    def record_of(self, number: int) -> TaskRecord: ...
    def note_accepted(self) -> None: ...
    def note_end(self) -> None: ...
    def note_error(self, error: str) -> None: ...


class Client(Protocol):
    """One user."""

    def submit(self, number: int) -> None:
        """Send a task and return at once."""

    async def submit_in_turn(self, numbers: Iterable[int]) -> None:
        """Send each when the one before was accepted or, if the wave says so, ended."""


class SocketClient(WSListener):
    """One socket. Frames are handled where they are parsed: no task and no queue a socket."""

    def __init__(self, book: Book, key: str) -> None:
        self._book = book
        self._key = key
        self._transport: WSTransport
        self._by_task_id: dict[str, TaskRecord] = {}
        self._waiting: dict[int, asyncio.Event] = {}
        self._greeted = asyncio.Event()
        self._closing = False

    async def connect(self, base_url: str) -> int:
        """As every client should, with a pause that grows. Returns how often it was refused."""
        url = base_url.replace("http", "ws", 1) + "/ws/llmchat/"
        for refused in count():
            try:
                self._transport, _ = await ws_connect(
                    lambda: self,
                    url,
                    extra_headers={"Authorization": f"Bearer {self._key}"},
                    websocket_handshake_timeout=_HANDSHAKE_SECONDS,
                    read_buffer_init_size=_READ_BUFFER_BYTES,
                )
            except (WSError, OSError):
                if refused == _MOST_REFUSALS:
                    raise
                await asyncio.sleep(2**refused)
                continue
            await self._greeted.wait()
            return refused
        raise AssertionError

    def submit(self, number: int) -> None:
        wave = self._book.wave
        frame = {
            "type": "task.submit",
            "ref": str(number),
            "scene": SCENE,
            "model": MODEL,
            "variables": {"text": wave.text_of(number)},
            "stream": wave.stream,
        }
        self._book.note_sent(TaskRecord(number, sent_at=clock()))
        self._transport.send(WSMsgType.TEXT, msgspec.json.encode(frame))

    async def submit_in_turn(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            waiting = self._waiting[number] = asyncio.Event()
            self.submit(number)
            await waiting.wait()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        now = clock()
        if frame.msg_type is WSMsgType.TEXT:
            self._take(frame.get_payload_as_bytes(), now)
        elif frame.msg_type is WSMsgType.CLOSE:
            self._book.note_error(f"a socket was closed with {frame.get_close_code()}")
            self._closing = True
            transport.disconnect()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        if not self._closing:
            self._book.note_error("a socket broke")

    def _take(self, frame: bytes, now: float) -> None:
        head = _heads.decode(frame)
        if (record := self._by_task_id.get(head.task_id)) is not None:
            self._take_event(record, head.type, frame, now)
        elif head.type == "task.accepted" and head.ref is not None:
            self._take_accepted(int(head.ref), head.task_id, now)
        elif head.type == "hello":
            self._greeted.set()
        else:
            self._book.note_error(frame.decode())

    def _take_event(self, record: TaskRecord, kind: str, frame: bytes, now: float) -> None:
        wave = self._book.wave
        record.frames.append(frame)
        if wave.stamp_frames:
            record.stamps.append(now)
        if kind in _ENDS and record.ended_at is None:
            record.ended_at = now
            self._book.note_end()
            if wave.one_by_one:
                self._go_on(record.number)

    def _take_accepted(self, number: int, task_id: str, now: float) -> None:
        record = self._book.record_of(number)
        record.task_id, record.accepted_at = task_id, now
        self._by_task_id[task_id] = record
        self._book.note_accepted()
        if not self._book.wave.one_by_one:
            self._go_on(number)

    def _go_on(self, number: int) -> None:
        if waiting := self._waiting.pop(number, None):
            waiting.set()

    def close(self) -> None:
        self._closing = True
        self._transport.disconnect()


class RestClient:
    """One user who submits over REST, and looks no further: who watches has a socket."""

    def __init__(self, book: Book, key: str, session: aiohttp.ClientSession, url: str) -> None:
        self._book = book
        self._headers = {"Authorization": f"Bearer {key}"}
        self._session = session
        self._url = f"{url}/api/llmchat/prompts/{SCENE}/api"
        self._running: set[asyncio.Task[None]] = set()

    def submit(self, number: int) -> None:
        task = asyncio.create_task(self._submit(number))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def submit_in_turn(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            await self._submit(number)

    async def _submit(self, number: int) -> None:
        body: dict[str, Any] = {
            "model": MODEL,
            "variables": {"text": self._book.wave.text_of(number)},
        }
        record = TaskRecord(number, sent_at=clock())
        self._book.note_sent(record)
        request = self._session.post(self._url, json=body, headers=self._headers)
        async with request as response:
            answer = await response.read()
            if response.status != 202:
                self._book.note_error(f"{response.status}: {answer[:200]!r}")
                return
        record.accepted_at = clock()
        record.task_id = _accepted.decode(answer).task_id
        self._book.note_accepted()
