"""Lua scripts: loaded from files, called with their keys and arguments apart."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import redis
import redis.asyncio
from redis.exceptions import NoScriptError

from aily.redis.clients import async_redis, sync_redis

Argument = bytes | str | int | float
Keys = Sequence[str]
#: The keys and the arguments of one call.
ScriptCall = tuple[Keys, Sequence[Argument]]


class LuaScript:
    """A Lua script, sent whole only when the server does not know it yet.

    All keys of one call share a hash tag (keys.py of each subsystem), and a script builds none: so
    the keys can be spread over a Redis Cluster. The replies are what the script returns.
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

    def call(self, keys: Keys, args: Sequence[Argument]) -> Any:
        """Run the script. Raises RedisUnavailable."""
        client = self._sync_client()
        try:
            return client.evalsha(self._sha, len(keys), *keys, *args)
        except NoScriptError:
            return client.eval(self._source, len(keys), *keys, *args)

    async def acall(self, keys: Keys, args: Sequence[Argument]) -> Any:
        """`call` for an event loop."""
        # redis-py types the sync and the async client's replies as one union.
        client: Any = self._async_client()
        try:
            return await client.evalsha(self._sha, len(keys), *keys, *args)
        except NoScriptError:
            return await client.eval(self._source, len(keys), *keys, *args)

    def call_many(self, calls: Sequence[ScriptCall]) -> list[Any]:
        """Run the script once for each of `calls`, in one round trip. Raises RedisUnavailable.

        A call does not see the others as one step. Where the server has just lost its scripts, the
        calls may run in another order.
        """
        if len(calls) == 1:
            return [self.call(*calls[0])]
        client = self._sync_client()
        replies = self._in_pipeline(client, calls).execute(raise_on_error=False)
        if unknown := _unknown(replies):
            client.script_load(self._source)
            again = self._in_pipeline(client, [calls[index] for index in unknown])
            _replace(replies, unknown, again.execute())
        return _checked(replies)

    async def acall_many(self, calls: Sequence[ScriptCall]) -> list[Any]:
        """`call_many` for an event loop."""
        if len(calls) == 1:
            return [await self.acall(*calls[0])]
        client: Any = self._async_client()
        replies = await self._in_pipeline(client, calls).execute(raise_on_error=False)
        if unknown := _unknown(replies):
            await client.script_load(self._source)
            again = self._in_pipeline(client, [calls[index] for index in unknown])
            _replace(replies, unknown, await again.execute())
        return _checked(replies)

    def _in_pipeline(self, client: Any, calls: Sequence[ScriptCall]) -> Any:
        pipe = client.pipeline(transaction=False)
        for keys, args in calls:
            pipe.evalsha(self._sha, len(keys), *keys, *args)
        return pipe


def _unknown(replies: Sequence[object]) -> list[int]:
    """The indexes of the calls whose script the server did not know."""
    return [index for index, reply in enumerate(replies) if isinstance(reply, NoScriptError)]


def _replace(replies: list[Any], indexes: Sequence[int], found: Sequence[Any]) -> None:
    for index, reply in zip(indexes, found, strict=True):
        replies[index] = reply


def _checked(replies: list[Any]) -> list[Any]:
    """The replies. Raises the first error among them."""
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    return replies
