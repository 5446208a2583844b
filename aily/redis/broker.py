"""Dramatiq's broker: the doorbell that has workers look for work."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import dramatiq
import redis
from django.conf import settings
from django.db import close_old_connections
from dramatiq import Consumer, Message, MessageProxy
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

from aily.redis.guarded import guarded_pool

#: A consumer's `misses` after a message: Dramatiq waits 5 ms times two to this power, up to twice
#: that, before it looks again. From 0 on it would look seven times until it is back at its slowest.
_MISSES = 5


class _CalmConsumer(Consumer):
    """Dramatiq's consumer, which polls seldom: urgent work is announced by pub/sub, and a message
    may wait for half a second."""

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer

    def __next__(self) -> MessageProxy | None:
        self._consumer.misses = max(self._consumer.misses, _MISSES)
        message: MessageProxy | None = next(self._consumer)
        return message

    def ack(self, message: MessageProxy) -> None:
        self._consumer.ack(message)

    def nack(self, message: MessageProxy) -> None:
        self._consumer.nack(message)

    def requeue(self, messages: Iterable[MessageProxy]) -> None:
        self._consumer.requeue(messages)

    def close(self) -> None:
        self._consumer.close()


class DoorbellBroker(RedisBroker):
    """Dramatiq's broker without the twin of each queue for messages that are to wait, which every
    worker would poll on a thread of its own: here what waits does so in the database."""

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 5000) -> Consumer:
        return _CalmConsumer(super().consume(queue_name, prefetch, timeout))

    def declare_queue(self, queue_name: str) -> None:
        if queue_name not in self.queues:
            self.emit_before("declare_queue", queue_name)
            self.queues.add(queue_name)
            self.emit_after("declare_queue", queue_name)

    def enqueue(self, message: Message[Any], *, delay: int | None = None) -> Message[Any]:
        if delay is not None:
            raise ValueError("no message can be delayed: no worker consumes such a queue")
        return super().enqueue(message)


class ReturnConnections(Middleware):
    """Gives a worker thread's database connection back around every message."""

    def before_process_message(self, broker: dramatiq.Broker, message: object) -> None:
        close_old_connections()

    def after_process_message(
        self,
        broker: dramatiq.Broker,
        message: object,
        *,
        result: object = None,
        exception: BaseException | None = None,
    ) -> None:
        close_old_connections()


def configure_broker() -> None:
    """Set the process's broker. No connection is made before the first message.

    heartbeat_timeout and maintenance_chance: Dramatiq's defaults leave the messages of a killed
    worker for 60 s plus, on a quiet queue, many minutes more. The task's row is what counts, but
    periodic jobs travel by message alone.
    """
    broker = DoorbellBroker(  # type: ignore[no-untyped-call]
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
