"""What is raised where Redis cannot do its work."""

from __future__ import annotations

import redis
from redis.connection import DefaultParser
from redis.exceptions import OutOfMemoryError, ReadOnlyError


class RedisBusyError(redis.ConnectionError):
    """No connection of this process was free in time. Redis itself may be well."""


class RedisDiskError(redis.ResponseError):
    """Redis refuses writes (MISCONF): it cannot write its files, as when the disk is full.

    It still answers reads, and takes writes again by itself when there is room.
    """


# redis-py has no class for it. All clients raise this one; it is caught as RedisUnavailable.
DefaultParser.EXCEPTION_CLASSES["MISCONF"] = RedisDiskError

#: Redis did not answer. What a circuit counts as a failure of the server.
NO_ANSWER = (redis.ConnectionError, redis.TimeoutError)
#: Redis cannot do its work now; anything else that redis-py raises is a mistake of ours.
RedisUnavailable = (*NO_ANSWER, OutOfMemoryError, ReadOnlyError, RedisDiskError)


def refuses_writes(error: redis.ResponseError) -> bool:
    """Whether the server is a replica by now, or has too few replicas (min-replicas-to-write)."""
    return isinstance(error, ReadOnlyError) or str(error).startswith("NOREPLICAS")
