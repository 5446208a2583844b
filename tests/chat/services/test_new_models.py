"""The first task of a new model starts at once: Redis cannot have lost slots of it."""

from __future__ import annotations

import pytest

from aily.redis.clients import sync_redis
from aily.redis.errors import RedisUnavailable
from chat import scheduler
from chat.models import LLMModel, Provider
from chat.scheduler import DeploymentClaim, Entry

pytestmark = pytest.mark.usefixtures("loop_services")


async def test_a_task_of_a_new_model_is_claimed_at_once(model: LLMModel) -> None:
    await scheduler.aenqueue(model.pool, [Entry("a-task", 1, 1)])
    claims = [DeploymentClaim(model.own_key[1], 1)]
    claimed = await scheduler.claim(model.pool, "w", claims, want=1, lease_seconds=1)
    assert (claimed.task_ids, claimed.is_counting) == (["a-task"], False)


def test_a_change_of_a_model_says_nothing(model: LLMModel) -> None:
    known = scheduler.keys.pool_keys(model.pool).known
    sync_redis().delete(known)
    model.save()
    model.provider.save()
    assert not sync_redis().exists(known)


def test_a_model_can_be_added_while_redis_is_away(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(pool: str) -> None:
        raise RedisUnavailable[0]("away")

    monkeypatch.setattr(scheduler, "mark_known", away)
    provider = Provider.objects.create(name="new", base_url="http://127.0.0.1:9")
    LLMModel.objects.create(provider=provider, name="new")
    assert LLMModel.objects.filter(name="new").exists()
