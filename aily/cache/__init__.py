"""The cache: values that PostgreSQL has, kept where they are quicker to get. It may be lost.

`keys` names everything that is in it, `values` reads and builds, `store` talks to Redis.
"""

from aily.cache.known import KnownRows
from aily.cache.store import unlink, unlink_matching
from aily.cache.values import UNKNOWN, Cached, Unknown, forget_copies
from aily.cache.warming import Warmer, register_warmers

__all__ = [
    "UNKNOWN",
    "Cached",
    "KnownRows",
    "Unknown",
    "Warmer",
    "forget_copies",
    "register_warmers",
    "unlink",
    "unlink_matching",
]
