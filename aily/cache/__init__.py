"""The cache: values of PostgreSQL, kept where they are quicker to get. It may be lost.

`keys` has the name of every value, `values` reads and builds them, `store` calls Redis.
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
