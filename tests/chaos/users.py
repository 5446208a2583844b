"""A user who never gives up: reconnects, resumes after the last event, and submits again."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from tests.client import TERMINAL_TYPES, parse_id
from tests.load.recording import MODEL
from tests.stack import Stack

#: Wait before connecting again, in seconds: drawn anew each time, so that not all come at once.
RECONNECT_SECONDS = (0.1, 1.0)


@dataclass
class Seen:
    """The frames that one user got of one task, over all its connections."""

    prompt: str
    key: str
    task_id: str | None = None
    last: tuple[int, int] = (0, 0)
    text: str = ""
    ends: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    #: A snapshot has begun that comes in pieces, of which only the last has an id.
    in_pieces: bool = False
    #: The last event that came in its turn since this connection asked for what is missing. Until
    #: the server follows the task for it, events of the task's life come ahead of their turn, as
    #: those of any task of its user, and again in it.
    resumed_from: tuple[int, int] | None = None

    @property
    def is_ended(self) -> bool:
        return bool(self.ends)

    def add(self, frame: dict[str, Any]) -> None:
        """Apply a frame as a client should, and note whatever must not be."""
        kind = frame["type"]
        if "id" not in frame:
            self.add_piece(frame)
            return
        now = parse_id(frame["id"])
        # What replaces all that came before may follow a gap: Redis lost the log.
        is_whole = kind == "task.snapshot" or kind in TERMINAL_TYPES or self.in_pieces
        self.in_pieces = False
        if self.resumed_from is not None and self.resumed_from < now <= self.last:
            self._repeat(kind, now, self.resumed_from, is_whole=is_whole)
            return
        follows = _follows(now, self.last)
        if now <= self.last or not (follows or is_whole):
            self.problems.append(f"{kind} {now} after {self.last}")
        if self.is_ended:
            self.problems.append(f"{kind} {now} after the end")
        self.last = now
        if kind in ("task.delta", "task.snapshot"):
            # They come from who follows the task alone: all before them has come.
            self.resumed_from = None
        self._apply(kind, frame, follows=follows)

    def _apply(self, kind: str, frame: dict[str, Any], *, follows: bool) -> None:
        if kind in ("task.started", "task.snapshot"):
            self.text = frame.get("text", "")
        elif kind == "task.delta":
            self.text += frame["text"]
        elif kind in TERMINAL_TYPES:
            self.ends.append(frame)
            if not follows and "result" in frame:
                self.text = frame["result"]["text"]

    def _repeat(
        self, kind: str, now: tuple[int, int], last: tuple[int, int], *, is_whole: bool
    ) -> None:
        """Note an event that comes in its turn after it, or a later one, has come ahead."""
        if not (_follows(now, last) or is_whole):
            self.problems.append(f"{kind} {now} after {last}")
        self.resumed_from = now if now < self.last else None

    def add_piece(self, frame: dict[str, Any]) -> None:
        if self.is_ended:
            return
        if frame["type"] == "task.snapshot":
            self.text, self.in_pieces = frame["text"], True
        elif frame["type"] == "task.delta" and self.in_pieces:
            self.text += frame["text"]


def _follows(event: tuple[int, int], last: tuple[int, int]) -> bool:
    return event == (last[0], last[1] + 1) or (event[0] > last[0] and event[1] == 1)


class PatientUser:
    """Submits its prompts at random moments and follows them all to their ends."""

    def __init__(
        self, url: str, api_key: str, prompts: list[str], seed: int, **options: Any
    ) -> None:
        self._url = url
        self._headers = {"Authorization": f"Bearer {api_key}"}
        #: More arguments of `websockets.connect`.
        self._options = options
        self._random = random.Random(seed)
        self.tasks = [
            Seen(prompt, f"chaos-{seed}-{number}") for number, prompt in enumerate(prompts)
        ]
        self._due: list[Seen] = []
        self.reconnects = 0
        self.refused = 0

    async def run(self, submit_seconds: float) -> None:
        """Submit over `submit_seconds`, then stay until every task has ended."""
        submitting = asyncio.create_task(self._make_due(submit_seconds))
        try:
            while not all(task.is_ended for task in self.tasks):
                try:
                    await self._session()
                except (OSError, TimeoutError, WebSocketException):
                    self.reconnects += 1
                    await asyncio.sleep(self._random.uniform(*RECONNECT_SECONDS))
        finally:
            submitting.cancel()

    async def _make_due(self, seconds: float) -> None:
        moments = sorted(self._random.uniform(0, seconds) for _ in self.tasks)
        before = 0.0
        for moment, task in zip(moments, self.tasks, strict=True):
            await asyncio.sleep(moment - before)
            before = moment
            self._due.append(task)

    async def _session(self) -> None:
        """One connection, for as long as it lasts."""
        async with connect(
            self._url,
            additional_headers=self._headers,
            compression=None,
            open_timeout=10,
            **self._options,
        ) as socket:
            asked: set[str] = set()
            for task in list(self._due):
                if task.task_id and not task.is_ended:
                    await self._resume(socket, task)
            while not all(task.is_ended for task in self.tasks):
                await self._submit_due(socket, asked)
                await self._read(socket, asked)

    async def _resume(self, socket: ClientConnection, task: Seen) -> None:
        after = f"{task.last[0]}-{task.last[1]}" if task.last != (0, 0) else None
        frame = {"type": "task.subscribe", "task_id": task.task_id, "after": after, "ref": task.key}
        task.resumed_from = task.last
        await socket.send(json.dumps(frame))

    async def _submit_due(self, socket: ClientConnection, asked: set[str]) -> None:
        for task in list(self._due):
            if task.task_id is None and task.key not in asked:
                asked.add(task.key)
                messages = [{"role": "user", "content": task.prompt}]
                frame = {
                    "type": "task.submit",
                    "ref": task.key,
                    "idempotency_key": task.key,
                    "messages": messages,
                    "model": MODEL,
                }
                await socket.send(json.dumps(frame))

    async def _read(self, socket: ClientConnection, asked: set[str]) -> None:
        """Take what comes within half a second. Silence is no reason to connect again: what is
        owed has to be pushed. The library's pings find a connection that went stale."""
        with suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                while True:
                    self._route(json.loads(await socket.recv()), asked)

    def _route(self, frame: dict[str, Any], asked: set[str]) -> None:
        if frame["type"] == "error":
            # Something is away: ask again in the next round.
            self.refused += 1
            asked.discard(frame["ref"] or "")
            return
        if frame["type"] == "task.accepted":
            self._by_key(frame["ref"]).task_id = frame["task_id"]
            return
        for task in self.tasks:
            if task.task_id is not None and task.task_id == frame.get("task_id"):
                task.add(frame)

    def _by_key(self, key: str) -> Seen:
        return next(task for task in self.tasks if task.key == key)


def users_of(stack: Stack, keys: Sequence[str], prompts: list[str]) -> list[PatientUser]:
    """One for each key, who all ask the same."""
    url = stack.base_url.replace("http", "ws", 1) + "/ws/llmchat/"
    return [PatientUser(url, key, prompts, seed) for seed, key in enumerate(keys)]


async def not_ended(running: Sequence[asyncio.Task[None]], seconds: float) -> list[str]:
    """Wait for all of these users at most so long; what is to be said of those who go on."""
    try:
        async with asyncio.timeout(seconds):
            await asyncio.gather(*running)
    except TimeoutError:
        return [f"not all tasks had ended after {seconds:.0f} s"]
    return []
