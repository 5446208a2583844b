"""PostgreSQL and Valkey from wheels, for an installation that sets no URLs of servers.

Only the addresses are exported here: settings import them, without any side effect.
The servers themselves are in `postgres` and `valkey`.
"""

from __future__ import annotations

from aily.embedded.addresses import database_url, redis_url, with_redis_database

__all__ = ["database_url", "redis_url", "with_redis_database"]
