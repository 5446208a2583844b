"""Checks answers against their schemas: at once if that is little work, else in a process that can
be stopped (chat/rendering/pool.py). Nobody else waits for a hostile schema or a large answer."""

from __future__ import annotations

import asyncio
import hashlib
from functools import cache, lru_cache
from typing import Any
from weakref import WeakValueDictionary

import msgspec
from django.conf import settings

from aily.concurrency.loops import per_loop
from aily.problems import TooLarge, Unavailable
from chat.exceptions import InvalidTemplate
from chat.rendering.json_schema import SchemaRefusedError
from chat.rendering.limits import Limits
from chat.rendering.output import Checked, OutputSchema
from chat.rendering.pool import RenderingPool
from chat.rendering.work import MAX_SCHEMA_BYTES

#: Of one owner, in the processes or waiting for one: each holds a copy of its text.
_MAX_OF_AN_OWNER = 4
#: Uses of a schema after which it is kept ready, of the last ones that were used.
_MIN_USES, _MAX_COUNTED = 8, 1_000
_uses: dict[bytes, int] = {}
#: The pool gives no job up: each has bounds, and owners take turns.
_WAIT_SECONDS = 86_400
#: How often a check is tried while processes cannot be started, and the pause between.
_TRIES, _RETRY_SECONDS = 3, 1.0


class UncheckedError(Exception):
    """The answer cannot be checked within the bounds; the message says which."""


async def check_answer(schema: dict[str, Any], text: str, owner_id: int) -> Checked:
    """Whether an answer fits. Raises UncheckedError, or Unavailable if no process can be had."""
    known = _known(msgspec.json.encode(schema))
    checked = known.check_if_little_work(text) if known is not None else None
    return checked or await _check_apart(schema, text, owner_id)


async def check_schema(schema: dict[str, Any], owner_id: int) -> None:
    """Check that a schema can be used, in another process. Raises UncheckedError, which says why it
    cannot, or Unavailable."""
    async with _turn(owner_id):
        try:
            await asyncio.wrap_future(_pool().check_output(owner_id, schema, None, _limits()))
        except (InvalidTemplate, TooLarge) as problem:
            raise UncheckedError(problem.message) from None


def _known(encoded: bytes) -> OutputSchema | None:
    """A schema that is small and often used; None for others, whose checks are left to a process.

    Making it ready takes up to 2 ms, in which all calls of this process wait.
    """
    if len(encoded) > MAX_SCHEMA_BYTES:
        return None
    digest = hashlib.sha256(encoded).digest()
    uses = _uses[digest] = _uses.pop(digest, 0) + 1
    if len(_uses) > _MAX_COUNTED:
        del _uses[next(iter(_uses))]
    return _ready(encoded) if uses >= _MIN_USES else None


@lru_cache(maxsize=256)
def _ready(encoded: bytes) -> OutputSchema | None:
    """None for a schema that an earlier aily accepted, and this one does not."""
    try:
        # It was checked when its task was accepted.
        return OutputSchema(msgspec.json.decode(encoded), is_known=True)
    except SchemaRefusedError:
        return None


async def _check_apart(schema: dict[str, Any], text: str, owner_id: int) -> Checked:
    async with _turn(owner_id):
        for tries_left in reversed(range(_TRIES)):
            try:
                job = _pool().check_output(owner_id, schema, text, _limits())
                reply = await asyncio.wrap_future(job)
            except (InvalidTemplate, TooLarge) as problem:
                raise UncheckedError(problem.message) from None
            except Unavailable:
                if not tries_left:
                    raise
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                return Checked(reply["fitting"], tuple(reply["errors"]), reply["params"])
    raise RuntimeError("unreachable")


@per_loop
def _turns() -> WeakValueDictionary[int, asyncio.Semaphore]:
    return WeakValueDictionary()


def _turn(owner_id: int) -> asyncio.Semaphore:
    """Kept while anybody waits at it or has passed it."""
    turns = _turns()
    turn = turns.get(owner_id)
    if turn is None:
        turn = turns[owner_id] = asyncio.Semaphore(_MAX_OF_AN_OWNER)
    return turn


@cache
def _pool() -> RenderingPool:
    return RenderingPool(settings.RENDERING_PROCESSES, _MAX_OF_AN_OWNER, _WAIT_SECONDS)


def _limits() -> Limits:
    return Limits(
        prompt_max_bytes=settings.PROMPT_MAX_BYTES,
        variables_max_bytes=settings.VARIABLES_MAX_BYTES,
        variables_max_values=settings.VARIABLES_MAX_VALUES,
        variables_max_depth=settings.VARIABLES_MAX_DEPTH,
        cpu_seconds=settings.OUTPUT_CHECK_SECONDS,
        memory_bytes=settings.RENDERING_MAX_MEMORY_BYTES,
    )
