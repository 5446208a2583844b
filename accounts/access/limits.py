"""Limits of a user: the user's own, else the most generous of the roles', else the settings'."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Protocol

from django.conf import settings

from accounts.access.grants import ROLES, USERS
from accounts.access.grants import LimitOverrides as _Overrides
from aily.concurrency.batching import Batcher
from aily.concurrency.loops import per_loop
from aily.database.threads import in_database
from aily.problems import RateLimited
from aily.redis.rates import Counter, Rate, count, count_many

#: A change by staff takes effect in all processes within this time.
CACHE_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Limits:
    """A user's limits; None: unlimited."""

    requests_per_minute: int | None
    max_tasks_in_flight: int | None
    max_tasks_queued: int | None


_lock = Lock()
_cached: dict[int, _Overrides] = {}
_cached_until = 0.0


def limits_of(user_ids: Collection[int]) -> dict[int, Limits]:
    """Return the limits of these users, kept for CACHE_SECONDS. No query when cached."""
    global _cached_until
    with _lock:
        if time.monotonic() > _cached_until:
            _cached.clear()
            _cached_until = time.monotonic() + CACHE_SECONDS
        known = {user_id: _cached[user_id] for user_id in user_ids if user_id in _cached}
    missing = set(user_ids) - set(known)
    found = _load(missing) if missing else {}
    with _lock:
        _cached.update(found)
    overrides = known | found
    return {user_id: _with_defaults(overrides.get(user_id)) for user_id in user_ids}


def _known(user_id: int) -> Limits | None:
    """Return a user's limits if this process has them. Does not block."""
    with _lock:
        is_fresh = time.monotonic() <= _cached_until and user_id in _cached
        return _with_defaults(_cached[user_id]) if is_fresh else None


def _load(user_ids: Collection[int]) -> dict[int, _Overrides]:
    users = USERS.get_many(user_ids)
    roles = ROLES.get_many({pk for user in users.values() for pk in user.roles})
    return {
        pk: _overrides(user.limits, [roles[role].limits for role in user.roles if role in roles])
        for pk, user in users.items()
    }


def _overrides(own: _Overrides, of_roles: Sequence[_Overrides]) -> _Overrides:
    """Return the user's own limits, else the most generous of the roles'."""
    requests, in_flight, queued = (
        user_limit or max((limit for limit in role_limits if limit), default=None)
        for user_limit, *role_limits in zip(own, *of_roles, strict=True)
    )
    return requests, in_flight, queued


def _with_defaults(overrides: _Overrides | None) -> Limits:
    requests, in_flight, queued = overrides or (None, None, None)
    return Limits(
        requests or settings.RATE_LIMIT_PER_MINUTE or None,
        in_flight or settings.MAX_TASKS_IN_FLIGHT or None,
        queued or settings.MAX_QUEUED_PER_USER or None,
    )


class LimitedKey(Protocol):
    """An API key: its row, or what the cache holds of it."""

    @property
    def pk(self) -> int: ...
    @property
    def requests_per_minute(self) -> int | None: ...


#: The user of a request, with its API key, or None for a session.
Requester = tuple[int, LimitedKey | None]


async def count_request(user_id: int, api_key: LimitedKey | None) -> Rate | None:
    """Count a request of a user, made with `api_key` or a session. Raises RateLimited.

    Returns the rate of the user, or of the key if that has less left; None if neither is limited.
    """
    # Limits of many users that are missing at the same moment are loaded by one query.
    limits = _known(user_id) or await _loader().submit(user_id)
    rates = [await count(counter) for counter in _counters(user_id, api_key, limits)]
    return min((rate for rate in rates if rate), key=lambda rate: rate.remaining, default=None)


def count_requests(
    requesters: Sequence[Requester | None],
) -> list[Rate | RateLimited | None]:
    """Count many requests at once, but none for None. Blocks. Returns each refusal, or the rate."""
    limits = limits_of({requester[0] for requester in requesters if requester is not None})
    return count_many(
        [
            _counters(*requester, limits[requester[0]]) if requester is not None else ()
            for requester in requesters
        ]
    )


@per_loop
def _loader() -> Batcher[int, Limits]:
    async def handle(user_ids: list[int]) -> Sequence[Limits]:
        found = await in_database(limits_of, user_ids)
        return [found[user_id] for user_id in user_ids]

    return Batcher(handle)


def _counters(user_id: int, api_key: LimitedKey | None, limits: Limits) -> list[Counter]:
    counters = []
    if api_key is not None and api_key.requests_per_minute:
        counters.append(Counter(f"key:{api_key.pk}", api_key.requests_per_minute))
    if per_minute := limits.requests_per_minute:
        counters.append(Counter(f"user:{user_id}", per_minute))
    return counters
