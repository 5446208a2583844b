"""Whole answers of the provider, kept for scenes that allow it and given to equal requests.

The cache may forget any of them at any time; while it is away there are none.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, cast

import msgspec

from aily.cache.keys import ANSWERS
from aily.cache.store import client
from aily.redis.errors import RedisUnavailable


class CachedAnswer(msgspec.Struct, frozen=True):
    """The answer of a task's row. `usage` is that of the call that gave it."""

    text: str
    reasoning: str
    finish_reason: str
    usage: dict[str, Any]


def put(flight_key: str, model_id: int, answer: CachedAnswer, ttl_seconds: int) -> None:
    """Keep an answer of this model to the request of this digest."""
    try:
        client().set(key_of(flight_key, model_id), msgspec.msgpack.encode(answer), ex=ttl_seconds)
    except RedisUnavailable:
        return  # the connections' pool has said so


def get(requests: Collection[tuple[str, int]]) -> dict[tuple[str, int], CachedAnswer]:
    """The kept answers to these (digest, model id), in one round trip."""
    if not requests:
        return {}
    keys = [key_of(flight_key, model_id) for flight_key, model_id in requests]
    try:
        values = cast("list[bytes | None]", client().mget(keys))
    except RedisUnavailable:
        return {}
    return {
        request: msgspec.msgpack.decode(value, type=CachedAnswer)
        for request, value in zip(requests, values, strict=True)
        if value is not None
    }


def key_of(flight_key: str, model_id: int) -> str:
    """The key of an answer. It contains the model: a fallback's answer is another one."""
    return ANSWERS.key(f"{model_id}:{flight_key}")
