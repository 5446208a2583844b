"""Dramatiq's broker: the doorbell that tells workers to look for work."""

from __future__ import annotations

from typing import Any

import dramatiq
import redis
from django.conf import settings
from django.db import close_old_connections
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import (
    AgeLimit,
    AsyncIO,
    CurrentMessage,
    Middleware,
    Retries,
    ShutdownNotifications,
    TimeLimit,
)

from aily.redis import guarded_pool


class ReturnConnections(Middleware):
    """Gives a worker thread's database connection back around every message."""

    def before_process_message(self, broker: dramatiq.Broker, message: Any) -> None:
        close_old_connections()

    def after_process_message(
        self, broker: dramatiq.Broker, message: Any, *, result: Any = None, exception: Any = None
    ) -> None:
        close_old_connections()


def configure_broker() -> None:
    """Set the process's broker. No connection is made before the first message.

    heartbeat_timeout and maintenance_chance: Dramatiq's defaults leave the messages of a killed
    worker for 60 s plus, on a quiet queue, many minutes more. The task's row is what counts, but
    periodic jobs travel by message alone.
    """
    broker = RedisBroker(
        client=redis.Redis(connection_pool=guarded_pool(settings.DRAMATIQ_REDIS_URL)),
        middleware=[
            AsyncIO(),
            AgeLimit(),
            TimeLimit(),
            ShutdownNotifications(),
            Retries(max_retries=0),
            CurrentMessage(),
            ReturnConnections(),
        ],
        namespace="dramatiq",
        heartbeat_timeout=20_000,
        maintenance_chance=100_000,
    )
    dramatiq.set_broker(broker)
