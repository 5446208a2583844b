"""Redis: the queue, the cache, Dramatiq, the channel layer and the rates."""

from __future__ import annotations

from typing import Any

from redis.backoff import NoBackoff
from redis.retry import Retry

from aily import embedded
from aily.environment import refuse
from aily.environment.addresses import redis_url_problem
from aily.redis.sentinel import async_address
from aily.settings.environment import DATA_DIR, env

# Roles, each with a URL of its own. Losing any of them loses no task; the cache may evict at any
# time. Dramatiq (the doorbell), the channel layer and the rates are small, and stay on a single
# server each. Dramatiq has a database of its own because its maintenance runs KEYS.
REDIS_URL = env.checked("REDIS_URL", redis_url_problem, default=embedded.redis_url(DATA_DIR, 0))
REDIS_TIMEOUT_SECONDS = env.seconds("REDIS_TIMEOUT_SECONDS", default=2, maximum=600)


def _redis_address(variable: str, url: str) -> tuple[str, dict[str, Any]]:
    """Ends the process with a sentence that names the variable."""
    try:
        return async_address(url)
    except ValueError as error:
        refuse(f"{variable}: {error}")


def _redis_role_url(variable: str, database: int | None = None) -> str:
    """The URL of a role: its own variable, or REDIS_URL, with another database number if given."""
    usual = embedded.with_redis_database(REDIS_URL, database) if database else REDIS_URL
    url = env.checked(variable, redis_url_problem, default=usual)
    _redis_address(variable, url)
    return url


_redis_address("REDIS_URL", REDIS_URL)
DRAMATIQ_REDIS_URL = _redis_role_url("DRAMATIQ_REDIS_URL", 1)
# A single server, as MGET and UNLINK take keys of several hash slots (docs/decisions/hash-tags.md).
CACHE_URL = _redis_role_url("CACHE_URL", 2)
RATES_REDIS_URL = _redis_role_url("RATES_REDIS_URL")
LAYER_REDIS_URL = _redis_role_url("LAYER_REDIS_URL")
_layer_address, _layer_options = _redis_address("LAYER_REDIS_URL", LAYER_REDIS_URL)
CACHES = {
    "default": {
        "BACKEND": "django_redis.cache.RedisCache",
        # A list: a text would be split at the commas between Sentinels.
        "LOCATION": [CACHE_URL],
        "KEY_PREFIX": "aily",
        "OPTIONS": {
            # Less than for the queue: the database answers where the cache does not.
            "SOCKET_CONNECT_TIMEOUT": REDIS_TIMEOUT_SECONDS / 4,
            "SOCKET_TIMEOUT": REDIS_TIMEOUT_SECONDS / 2,
            "IGNORE_EXCEPTIONS": True,
            "CONNECTION_POOL_CLASS": "aily.redis.guarded.GuardedPool",
            # redis-py would try three times, with pauses: the database is quicker.
            "CONNECTION_POOL_KWARGS": {
                "retry": Retry(NoBackoff(), 0),
                "timeout": REDIS_TIMEOUT_SECONDS / 2,
            },
        },
    }
}
# With a traceback for each command; its circuit says in a line that the cache is away.
DJANGO_REDIS_LOG_IGNORED_EXCEPTIONS = False
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {
            "hosts": [
                {
                    "address": _layer_address,
                    **_layer_options,
                    "socket_timeout": REDIS_TIMEOUT_SECONDS,
                    "socket_connect_timeout": REDIS_TIMEOUT_SECONDS,
                    "health_check_interval": 5,
                }
            ],
            "prefix": "aily:layer",
        },
    }
}
