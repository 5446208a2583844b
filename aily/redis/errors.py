"""What is raised where Redis cannot do its work."""

from __future__ import annotations

import redis
from redis.exceptions import OutOfMemoryError, ReadOnlyError


class RedisBusyError(redis.ConnectionError):
    """No connection of this process was free in time. Redis itself may be well."""


#: Redis did not answer. What a circuit counts as a failure of the server.
NO_ANSWER = (redis.ConnectionError, redis.TimeoutError)
#: Redis cannot do its work now; anything else that redis-py raises is a mistake of ours.
RedisUnavailable = (*NO_ANSWER, OutOfMemoryError, ReadOnlyError)


def refuses_writes(error: redis.ResponseError) -> bool:
    """Whether the server is a replica by now, or has too few replicas (min-replicas-to-write)."""
    return isinstance(error, ReadOnlyError) or str(error).startswith("NOREPLICAS")
