"""A consumer's `misses`, which aily.redis.broker sets. See docs/private-parts.md."""

from __future__ import annotations

from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker


def test_a_consumer_waits_by_how_often_it_found_nothing() -> None:
    broker: Any = dramatiq.get_broker()
    consumer: Any = RedisBroker.consume(broker, "contract", timeout=1)
    assert consumer.misses == 0
    assert next(consumer) is None
    assert consumer.misses == 1


def test_the_projects_consumers_begin_at_the_slowest_pace() -> None:
    consumer: Any = dramatiq.get_broker().consume("contract", timeout=1)
    assert next(consumer) is None
    assert consumer._consumer.misses > 5
    consumer.close()
