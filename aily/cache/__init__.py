"""The cache: values that PostgreSQL has, kept where they are quicker to get. It may be lost.

`keys` names everything that is in it, `values` reads and builds, `store` talks to Redis.
"""

from aily.cache.store import unlink, unlink_matching
from aily.cache.values import UNKNOWN, Cached, Unknown, forget_copies

__all__ = ["UNKNOWN", "Cached", "Unknown", "forget_copies", "unlink", "unlink_matching"]
