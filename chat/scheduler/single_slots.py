"""Slots that are taken one by one, without a ready set: those of calls of tools.

A tool server is a pool with one deployment. Slots are those of chat/scheduler/slots.py, which also
renews and restores them; their holder is a process.
"""

from __future__ import annotations

from pathlib import Path

from aily.redis.scripts import LuaScript
from chat.scheduler.claims import COUNTING_MS
from chat.scheduler.keys import DeploymentKey, deployment_keys, pool_keys

_LUA = Path(__file__).parent / "lua"
_take = LuaScript[int](_LUA / "take_slot.lua")
_return = LuaScript[None](_LUA / "return_slot.lua")

#: What `take_slot` replies while slots are being counted.
_COUNTING = -1
#: When to ask again: calls of tools end all the time, and a poll costs one round trip.
BUSY_RETRY_SECONDS = 0.5


async def take_slot(
    deployment: DeploymentKey, holder: str, call_id: str, cap: int, lease_seconds: int
) -> float | None:
    """Take a slot for a call. Returns None, or seconds after which to ask again where there is
    none. Raises RedisUnavailable."""
    pool, own = pool_keys(deployment[0]), deployment_keys(deployment)
    keys = [pool.workers, pool.known, pool.counting, own.slots(holder), own.in_use]
    reply = await _take.acall(keys, [holder, lease_seconds, cap, call_id, COUNTING_MS])
    if reply == 1:
        return None
    return COUNTING_MS / 1000 if reply == _COUNTING else BUSY_RETRY_SECONDS


async def return_slot(deployment: DeploymentKey, holder: str, call_id: str) -> None:
    """Give back the slot of a call; one that is not held is let be. Raises RedisUnavailable."""
    own = deployment_keys(deployment)
    await _return.acall([own.slots(holder), own.in_use], [holder, call_id])
