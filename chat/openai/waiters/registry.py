"""Waiting requests as recorded in Redis: the calls of the scripts in lua/."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Self
from uuid import UUID

from aily.redis.scripts import Argument, LuaScript
from chat.openai.waiters import keys

#: A process without a heartbeat for so long is dead for a repeated request that looks for its task.
SILENT_SECONDS = 2.5
#: And for so long, for the tasks of its requests to be cancelled: a process may be stalled.
DEAD_SECONDS = 10.0
#: Tasks cancelled in one turn, and dropped requests that are remembered.
MAX_CANCELLED, MAX_DROPPED = 100, 20_000

_LUA = Path(__file__).parent / "lua"
_beat = LuaScript[tuple[int, list[bytes]]](_LUA / "beat.lua")
_drop = LuaScript[int](_LUA / "drop.lua")
_attach = LuaScript[bytes | None](_LUA / "attach.lua")


def fingerprint(api_key_id: int, path: str, body: bytes) -> str:
    """A digest by which equal requests of one API key are known."""
    digest = hashlib.blake2b(f"{api_key_id} {path}\n".encode(), digest_size=16)
    digest.update(body)
    return digest.hexdigest()


class Waiter(NamedTuple):
    """A request that waits for a task."""

    fingerprint: str
    task_id: UUID
    owner_id: int

    def __str__(self) -> str:
        return f"{self.fingerprint}:{self.task_id}:{self.owner_id}"

    @classmethod
    def parse(cls, text: bytes) -> Self:
        digest, task_id, owner_id = text.decode().split(":")
        return cls(digest, UUID(task_id), int(owner_id))


class Heartbeat(NamedTuple):
    """What a heartbeat has found."""

    #: False: Redis has no record of the process, and so none of its waiters.
    is_known: bool
    #: Dropped requests that were not repeated in time: the caller cancels their tasks.
    due: list[Waiter]


async def beat(
    process: str, began: Sequence[Waiter], ended: Sequence[Waiter], grace_seconds: float
) -> Heartbeat:
    """Note that the process lives, and which requests began and ended to wait there since the last
    time. Raises RedisUnavailable."""
    waiters = [str(waiter) for waiter in (*began, *ended)]
    numbers = (DEAD_SECONDS, grace_seconds, MAX_CANCELLED, len(began))
    args: list[Argument] = [process, *numbers, *waiters]
    is_known, due = await _beat.acall(keys.ALL, args)
    return Heartbeat(bool(is_known), [Waiter.parse(text) for text in due])


async def drop(waiter: Waiter, process: str, *, is_written: bool, grace_seconds: float) -> bool:
    """Note that the client of a request is gone. `is_written`: a heartbeat has written it.

    Returns False if there are too many of them to remember. Raises RedisUnavailable.
    """
    args = (str(waiter), process, int(is_written), grace_seconds, MAX_DROPPED)
    return await _drop.acall(keys.ALL, args) >= 0


async def attach(digest: str, process: str) -> Waiter | float | None:
    """Return the dropped request whose task an equal request of this process gets.

    A number where none was dropped, but some still wait in other processes or this one: how many
    seconds ago one of these processes gave its last heartbeat. Raises RedisUnavailable.
    """
    found = await _attach.acall(keys.ALL, (digest, process, SILENT_SECONDS))
    if found is None:
        return None
    return Waiter.parse(found) if b":" in found else float(found)
