"""A WebSocket and a REST client for tests and load, written from the interface's description.

Nothing of the code under test is imported: what it gets wrong must not cancel out here.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from types import TracebackType
from typing import Any, Self

import aiohttp
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.waiting import eventually

Frame = dict[str, Any]

TERMINAL_TYPES = frozenset({"task.completed", "task.failed", "task.cancelled", "task.expired"})
#: A test that waits longer for anything has found a defect.
PATIENCE_SECONDS = 60.0


def parse_id(event_id: str) -> tuple[int, int]:
    """`"2-17"` → (2, 17)."""
    attempt, n = event_id.split("-")
    return int(attempt), int(n)


@dataclass
class TaskFrames:
    """Frames of one task as one reader received them, and the text they add up to."""

    frames: list[Frame] = field(default_factory=list)
    #: The text of the last attempt, in pieces; that of earlier ones is dropped.
    text_pieces: list[str] = field(default_factory=list)
    reasoning_pieces: list[str] = field(default_factory=list)
    end: Frame | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, frame: Frame) -> None:
        """Apply a frame as every client should."""
        assert self.end is None, f"a frame after the end: {frame}"
        self.frames.append(frame)
        kind = frame["type"]
        if kind in TERMINAL_TYPES:
            self.end = frame
            self.ended.set()
        if kind in ("task.started", "task.snapshot"):
            self.text_pieces.clear()
            self.reasoning_pieces.clear()
        if kind in ("task.delta", "task.snapshot"):
            self.text_pieces.append(frame["text"])
            self.reasoning_pieces.append(frame["reasoning"])

    @property
    def text(self) -> str:
        return "".join(self.text_pieces)

    @property
    def reasoning(self) -> str:
        return "".join(self.reasoning_pieces)

    @property
    def types(self) -> list[str]:
        """Frames that have a place in the event log; notices about the queue have none."""
        return [frame["type"] for frame in self.logged]

    @property
    def logged(self) -> list[Frame]:
        """The frames that have a place in the event log."""
        return [frame for frame in self.frames if "id" in frame]

    @property
    def last_id(self) -> str | None:
        return self.logged[-1]["id"] if self.logged else None

    def check_ids(self, after: str = "0-0") -> None:
        """Raise AssertionError unless each id directly follows the one before, from `after` on.

        A snapshot stands for all that came before it, so it may follow a gap; and so may the last
        piece of one that came in pieces, the others of which have no id.
        """
        attempt, n = parse_id(after)
        in_pieces = False
        for frame in self.frames:
            is_whole = frame["type"] == "task.snapshot" or in_pieces
            in_pieces = "id" not in frame and (in_pieces or frame["type"] == "task.snapshot")
            if "id" not in frame:
                continue
            got = parse_id(frame["id"])
            follows = got == (attempt, n + 1) or (got[0] > attempt and got[1] == 1)
            may_skip = is_whole and got > (attempt, n)
            assert follows or may_skip, (
                f"{got} after {attempt}-{n}: {[event['id'] for event in self.logged]}"
            )
            attempt, n = got


class ChatSocket:
    """One WebSocket, whose frames are sorted by task as they come.

    `tasks` holds what came of each task, `errors` and `others` the rest. A closed socket fails
    every waiting call with ConnectionError; `close_code` then says why.
    """

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.tasks: dict[str, TaskFrames] = {}
        self.errors: list[Frame] = []
        self.others: list[Frame] = []
        self._refs = count(1)
        self._replies: dict[str, asyncio.Future[Frame]] = {}
        self._conditions: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []
        self._reader = asyncio.create_task(self._read())

    @property
    def close_code(self) -> int | None:
        return self.connection.close_code

    # --- Frames out -----------------------------------------------------------------------------
    async def send(self, **frame: Any) -> None:
        await self.connection.send(json.dumps(frame))

    async def ask(self, **frame: Any) -> Frame:
        """Send with a `ref` of its own, and give the `task.accepted` or `error` that names it."""
        ref = f"r{next(self._refs)}"
        reply: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
        self._replies[ref] = reply
        await self.send(ref=ref, **frame)
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await reply

    async def submit(self, prompt: str | None = None, **fields: Any) -> str:
        """Submit a task, `prompt` as its one user message. Returns its id."""
        if prompt is not None:
            fields["messages"] = [{"role": "user", "content": prompt}]
        reply = await self.ask(type="task.submit", **fields)
        assert reply["type"] == "task.accepted", reply
        return str(reply["task_id"])

    async def subscribe(self, task_id: str, after: str | None = None) -> TaskFrames:
        """Follow a task, with a clean slate for its frames."""
        frames = self.tasks[task_id] = TaskFrames()
        extra = {} if after is None else {"after": after}
        await self.send(type="task.subscribe", task_id=task_id, **extra)
        return frames

    async def ping(self) -> None:
        """Return once the server answered, and so has read all that was sent before."""
        pongs = self.count("pong")
        await self.send(type="ping")
        await self.until(lambda: self.count("pong") > pongs)

    # --- Frames in ------------------------------------------------------------------------------
    def count(self, kind: str) -> int:
        return sum(frame["type"] == kind for frame in self.others)

    def frames_of(self, task_id: str) -> TaskFrames:
        return self.tasks.setdefault(task_id, TaskFrames())

    async def ended(self, task_id: str, seconds: float = PATIENCE_SECONDS) -> TaskFrames:
        """Wait for the terminal frame of a task; returns all frames of it."""
        frames = self.frames_of(task_id)
        async with asyncio.timeout(seconds):
            await self._or_closed(asyncio.ensure_future(frames.ended.wait()))
        return frames

    async def until(self, condition: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until frames have made a condition true."""
        if condition():
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._conditions.append((condition, future))
        async with asyncio.timeout(seconds):
            await self._or_closed(future)

    async def got(self, task_id: str, kind: str) -> TaskFrames:
        """Wait for a frame of this type; returns all frames of the task."""
        frames = self.frames_of(task_id)
        await self.until(lambda: any(frame["type"] == kind for frame in frames.frames))
        return frames

    async def closed(self) -> int | None:
        """Wait for the server to close. Returns its code."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            await asyncio.shield(self._reader)
        return self.close_code

    async def close(self) -> None:
        await self.connection.close()
        await self._reader

    async def _or_closed(self, wanted: asyncio.Future[Any]) -> None:
        try:
            await asyncio.wait([wanted, self._reader], return_when=asyncio.FIRST_COMPLETED)
            if not wanted.done():
                raise ConnectionError(f"the socket was closed with {self.close_code}")
        finally:
            wanted.cancel()

    async def _read(self) -> None:
        try:
            async for message in self.connection:
                self._route(json.loads(message))
        except ConnectionClosed:
            pass
        for reply in self._replies.values():
            if not reply.done():
                reply.set_exception(ConnectionError(f"closed with {self.close_code}"))

    def _route(self, frame: Frame) -> None:
        kind = frame["type"]
        if "task_id" in frame and kind != "task.accepted":
            self.frames_of(frame["task_id"]).add(frame)
        else:
            (self.errors if kind == "error" else self.others).append(frame)
        if (reply := self._replies.pop(frame.get("ref") or "", None)) and not reply.done():
            reply.set_result(frame)
        for waiting in list(self._conditions):
            condition, future = waiting
            if future.done() or condition():
                self._conditions.remove(waiting)
                if not future.done():
                    future.set_result(None)


@asynccontextmanager
async def chat_socket(base_url: str, key: str | None, **options: Any) -> AsyncIterator[ChatSocket]:
    """Open a WebSocket of aily at `base_url` (http://…) with an API key, and greet."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    headers |= options.pop("headers", {})
    url = base_url.replace("http", "ws", 1) + "/ws/llmchat/"
    connecting = connect(
        url, additional_headers=headers, compression=None, max_size=None, proxy=None, **options
    )
    try:
        connection = await connecting
    except InvalidStatus:
        # The library aborts the connection; the loop closes it in its next turn.
        await asyncio.sleep(0)
        raise
    async with connection:
        socket = ChatSocket(connection)
        try:
            yield socket
        finally:
            await socket.close()


@dataclass(frozen=True)
class Answer:
    """A whole HTTP response."""

    status: int
    headers: dict[str, str]
    body: Any


@dataclass(frozen=True)
class ServerSentEvent:
    """One event of a stream; a comment has its text in `comment` and nothing else."""

    id: str | None = None
    event: str | None = None
    data: Any = None
    comment: str | None = None


class EventStream:
    """A stream whose head has come."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        #: The path of its task.
        self.location = response.headers["Location"]

    async def events(self) -> AsyncGenerator[ServerSentEvent]:
        buffer = b""
        async for chunk in self._response.content.iter_any():
            *blocks, buffer = (buffer + chunk).split(b"\n\n")
            for block in blocks:
                yield _parse_event(block.decode())
        assert not buffer, f"a stream ended in the middle of an event: {buffer!r}"


class RestClient:
    """Calls the REST surface as the owner of one API key; any number of calls at once."""

    def __init__(self, base_url: str, key: str | None, trust: ssl.SSLContext | None = None) -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.base_url = base_url
        self._session = aiohttp.ClientSession(
            base_url,
            headers=headers,
            connector=aiohttp.TCPConnector(limit=0, ssl=trust or True),
            timeout=aiohttp.ClientTimeout(total=PATIENCE_SECONDS),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._session.close()

    async def call(self, method: str, path: str, **options: Any) -> Answer:
        async with self._session.request(method, path, **options) as response:
            raw = await response.read()
            body = json.loads(raw) if raw and "json" in response.content_type else raw
            return Answer(response.status, dict(response.headers), body)

    async def get(self, path: str, **options: Any) -> Answer:
        return await self.call("GET", path, **options)

    async def post(self, path: str, body: Any = None, **options: Any) -> Answer:
        return await self.call("POST", path, json=body, **options)

    async def submit(self, prompt: str, **fields: Any) -> str:
        """Submit a task, `prompt` as its one user message. Returns its id."""
        messages = [{"role": "user", "content": prompt}]
        answer = await self.post("/api/llmchat/request", {"messages": messages, **fields})
        assert answer.status == 202, answer
        return str(answer.body["task_id"])

    async def task(self, task_id: str) -> Any:
        answer = await self.get(f"/api/llmchat/tasks/{task_id}")
        assert answer.status == 200, answer
        return answer.body

    async def cancel_all(self) -> None:
        """Cancel the user's tasks that have not ended."""
        path = "/api/llmchat/tasks"
        for task in (await self.get(path, params={"active": "true"})).body["items"]:
            await self.post(f"{path}/{task['task_id']}/cancel")

    @asynccontextmanager
    async def stream(
        self, path: str, method: str = "GET", **options: Any
    ) -> AsyncIterator[EventStream]:
        async with self._session.request(method, path, **options) as response:
            # 204: the task has ended, and nothing comes after the cursor.
            assert response.status in (200, 204), (response.status, await response.text())
            assert response.status == 204 or response.content_type == "text/event-stream"
            yield EventStream(response)

    async def events(
        self, path: str, method: str = "GET", **options: Any
    ) -> AsyncGenerator[ServerSentEvent]:
        """The events of a stream as they come. Close it (`aclosing`) to leave early."""
        async with self.stream(path, method, **options) as stream:
            async for event in stream.events():
                yield event

    async def follow(self, task_id: str, after: str | None = None) -> TaskFrames:
        """The frames of a task's event stream, to its end."""
        headers = {"Last-Event-ID": after} if after else {}
        return await self.collect(f"/api/llmchat/tasks/{task_id}/events", headers=headers)

    async def collect(self, path: str, **options: Any) -> TaskFrames:
        frames = TaskFrames()
        async for event in self.events(path, **options):
            if event.comment is None:
                assert event.id == event.data.get("id")
                assert event.event == event.data["type"]
                frames.add(event.data)
        return frames


def _parse_event(block: str) -> ServerSentEvent:
    if block.startswith(":"):
        return ServerSentEvent(comment=block[1:].strip())
    fields = dict(line.split(": ", 1) for line in block.split("\n"))
    assert set(fields) <= {"id", "event", "data"}, block
    return ServerSentEvent(fields.get("id"), fields["event"], json.loads(fields["data"]))


async def reset_stats(simulator: RestClient) -> None:
    """Have the simulator count from 0, once the calls of earlier tests have ended."""

    async def is_idle() -> bool:
        return not (await simulator.get("/stats")).body["in_flight"]

    await eventually(is_idle, "the end of all calls")
    await simulator.post("/stats/reset")
