"""Logs of many megabytes, and what a web process takes to send them."""

from __future__ import annotations

import msgspec
import redis

from chat.eventlog.keys import log_key
from tests.client import Frame
from tests.stack import Stack

ANSWER = "[sim:latency=0.05,tokens=30,tps=60]"


#: 60 MB, in pieces far larger than a provider sends, so that there are not too many.
DELTAS = 3_000


DELTA_BYTES = 20_000


def write_long_log(stack: Stack, task_id: str, end: Frame) -> list[str]:
    """Give an ended task a log of DELTAS times DELTA_BYTES. Returns the ids."""
    ids = [f"1-{n}" for n in range(1, DELTAS + 2)]
    started = {"type": "task.started", "task_id": task_id, "attempt": 1, "model": "any"}
    delta = {"type": "task.delta", "task_id": task_id, "text": "x" * DELTA_BYTES, "reasoning": ""}
    frames: list[Frame] = [started, *[delta] * (DELTAS - 1), end]
    with redis.Redis.from_url(stack.environment["REDIS_URL"]) as valkey:
        valkey.delete(log_key(task_id))
        pipe = valkey.pipeline(transaction=False)
        for event_id, frame in zip(ids, frames, strict=True):
            pipe.xadd(
                log_key(task_id),
                {"e": msgspec.json.encode({**frame, "id": event_id})},
                event_id,
            )
        pipe.expire(log_key(task_id), 60)
        pipe.execute()
    return ids
