"""The first task of a new provider starts at once: Redis cannot have lost slots of it."""

from __future__ import annotations

import pytest

from aily.redis.clients import sync_redis
from aily.redis.errors import RedisUnavailable
from chat import scheduler
from chat.models import LLMModel, Provider
from chat.scheduler import Entry

pytestmark = pytest.mark.usefixtures("loop_services")


async def test_a_task_of_a_new_provider_is_claimed_at_once(model: LLMModel) -> None:
    await scheduler.aenqueue(model.pool, [Entry("a-task", 1, 1)])
    claimed = await scheduler.claim(model.pool, "w", cap=1, want=1, lease_seconds=1)
    assert (claimed.task_ids, claimed.is_counting) == (["a-task"], False)


def test_a_change_of_a_provider_says_nothing(model: LLMModel) -> None:
    known = scheduler.keys.pool_keys(model.pool).provider.known
    sync_redis().delete(known)
    model.provider.save()
    assert not sync_redis().exists(known)


def test_a_provider_can_be_added_while_redis_is_away(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(provider: str) -> None:
        raise RedisUnavailable[0]("away")

    monkeypatch.setattr(scheduler, "mark_known", away)
    Provider.objects.create(name="new", base_url="http://127.0.0.1:9")
    assert Provider.objects.filter(name="new").exists()
