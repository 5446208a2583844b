"""Lua scripts: loaded from files, called with their keys and arguments apart."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar, cast

import redis
import redis.asyncio
from redis.client import Pipeline
from redis.exceptions import NoScriptError

from aily.redis.clients import async_redis, sync_redis
from aily.redis.many import check, execute_many

Argument = bytes | str | int | float
Keys = Sequence[str]
R = TypeVar("R")
#: The keys and the arguments of one call.
ScriptCall = tuple[Keys, Sequence[Argument]]


class LuaScript(Generic[R]):
    """A Lua script, sent whole only when the server does not know it yet. `R`: what it returns.

    All keys of one call share a hash tag (keys.py of each subsystem), and a script builds none: so
    the keys can be spread over a Redis Cluster.
    """

    def __init__(
        self,
        path: Path,
        sync_client: Callable[[], redis.Redis] = sync_redis,
        async_client: Callable[[], redis.asyncio.Redis] = async_redis,
    ) -> None:
        self.path = path
        self._sync_client, self._async_client = sync_client, async_client
        self._source = path.read_text()
        self._sha = hashlib.sha1(self._source.encode(), usedforsecurity=False).hexdigest()

    def call(self, keys: Keys, args: Sequence[Argument]) -> R:
        """Run the script. Raises RedisUnavailable."""
        client = self._sync_client()
        try:
            reply = client.evalsha(self._sha, len(keys), *keys, *args)
        except NoScriptError:
            reply = client.eval(self._source, len(keys), *keys, *args)
        return cast("R", reply)

    async def acall(self, keys: Keys, args: Sequence[Argument]) -> R:
        """`call` for an event loop."""
        client = self._async_client()
        try:
            asked = client.evalsha(self._sha, len(keys), *keys, *args)
            return await cast("Awaitable[R]", asked)
        except NoScriptError:
            asked = client.eval(self._source, len(keys), *keys, *args)
            return await cast("Awaitable[R]", asked)

    def call_many(self, calls: Sequence[ScriptCall]) -> list[R]:
        """Run the script once for each of `calls`, in one round trip. Raises RedisUnavailable.

        A call does not see the others as one step. Where the server has just lost its scripts, the
        calls may run in another order.
        """
        if len(calls) == 1:
            return [self.call(*calls[0])]
        client = self._sync_client()
        replies = self._add(client.pipeline(transaction=False), calls).execute(raise_on_error=False)
        if unknown := _unknown(replies):
            client.script_load(self._source)
            again = self._add(client.pipeline(transaction=False), [calls[i] for i in unknown])
            _replace(replies, unknown, again.execute())
        check(replies)
        return cast("list[R]", replies)

    async def acall_many(self, calls: Sequence[ScriptCall]) -> list[R]:
        """`call_many` for an event loop."""
        if len(calls) == 1:
            return [await self.acall(*calls[0])]
        client = self._async_client()
        commands = [("EVALSHA", self._sha, len(keys), *keys, *args) for keys, args in calls]
        replies = await execute_many(client, commands, raise_on_error=False)
        if unknown := _unknown(replies):
            await cast("Awaitable[str]", client.script_load(self._source))
            again = await execute_many(client, [commands[index] for index in unknown])
            _replace(replies, unknown, again)
        check(replies)
        return replies

    def _add(self, pipe: Pipeline, calls: Sequence[ScriptCall]) -> Pipeline:
        for keys, args in calls:
            pipe.evalsha(self._sha, len(keys), *keys, *args)
        return pipe


def _unknown(replies: Sequence[object]) -> list[int]:
    """The indexes of the calls whose script the server did not know."""
    return [index for index, reply in enumerate(replies) if isinstance(reply, NoScriptError)]


def _replace(replies: list[object], indexes: Sequence[int], found: Sequence[object]) -> None:
    for index, reply in zip(indexes, found, strict=True):
        replies[index] = reply
