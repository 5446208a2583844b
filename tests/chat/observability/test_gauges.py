"""Gauges of the queue, read from real servers."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.conf import settings
from django.utils import timezone

from accounts.models import User
from aily.database.threads import in_database
from aily.monitoring import services
from aily.observability.collector import Query
from chat import scheduler
from chat.models import Deployment, Lane, LLMModel, Provider, Task, ToolServer
from chat.observability.gauges import QueueGauges
from chat.scheduler import DeploymentClaim, Fault
from chat.scheduler.breakers import BREAKER_FAILURES

pytestmark = pytest.mark.usefixtures("loop_services")


def ask(query: Query) -> dict[tuple[str, ...], float]:
    return {(reading.family.name, *reading.labels): reading.value for reading in query()}


@pytest.fixture
def gauges(model: LLMModel) -> QueueGauges:
    return QueueGauges(settings.REDIS_URL)


def make_task(owner: User, model: LLMModel, **fields: object) -> Task:
    return Task.objects.create(owner=owner, model=model, messages=[], **fields)


def test_rows(gauges: QueueGauges, model: LLMModel, alice: User) -> None:
    for lane in (Lane.BATCH, Lane.BATCH, Lane.NORMAL):
        make_task(alice, model, lane=lane)
    Task.objects.filter(lane=Lane.NORMAL).update(created_at=timezone.now() - timedelta(minutes=5))
    make_task(alice, model, status="running")
    hour_ago = timezone.now() - timedelta(hours=1)
    make_task(alice, model, status="failed", needs_settling=True, finished_at=hour_ago)
    found = ask(gauges.from_rows)
    name = model.name
    assert found["aily_queue_depth", name, "batch"] == 2
    assert found["aily_queue_depth", name, "normal"] == 1
    assert found["aily_queue_depth", name, "interactive"] == 0
    assert 300 <= found["aily_queue_oldest_age_seconds", name, "normal"] < 600
    assert found["aily_tasks_running", name] == 1
    assert found["aily_settlement_backlog",] == 1
    assert found["aily_settlement_oldest_age_seconds",] >= 3600
    assert found["aily_workers_alive",] == 0
    assert found["aily_deliveries_pending", "webhook"] == 0
    assert found["aily_leases_cap", name] == model.max_concurrency


async def test_redis(gauges: QueueGauges, model: LLMModel) -> None:
    await in_database(ask, gauges.from_rows)
    name, provider = model.name, model.provider.name
    found = ask(gauges.from_redis)
    assert found["aily_provider_breaker_state", provider] == 0
    assert found["aily_leases_limit", name] == model.max_concurrency
    await scheduler.aenqueue(model.pool, [scheduler.Entry("a", 0, 1), scheduler.Entry("b", 0, 1)])
    claimed = await scheduler.claim(
        model.pool, "w", [DeploymentClaim(model.own_key[1], 500)], want=2, lease_seconds=60
    )
    assert len(claimed.task_ids) == 2
    found = ask(gauges.from_redis)
    assert found["aily_leases_in_use", name] == 2
    assert found["aily_pool_paused", name] == 0
    await scheduler.report_failure(
        model.own_key,
        "a",
        owner_id=1,
        lane=1,
        cap=500,
        fault=Fault.THROTTLED,
        retry_after_seconds=60,
    )
    assert ask(gauges.from_redis)["aily_pool_paused", name] == 1
    for number in range(BREAKER_FAILURES):
        await scheduler.report_failure(
            model.own_key, f"t{number}", owner_id=1, lane=1, cap=500, fault=Fault.FAILED
        )
    assert ask(gauges.from_redis)["aily_provider_breaker_state", provider] == 2
    scheduler.drop_worker("w", [model.own_key])


async def test_deployments(gauges: QueueGauges, model: LLMModel) -> None:
    provider = await in_database(Provider.objects.create, name="second", base_url="http://x")
    more = await in_database(
        lambda: Deployment.objects.create(
            model=model, name="more", provider=provider, max_concurrency=20, weight=2,
            requests_per_minute=60,
        )
    )  # fmt: skip
    await in_database(LLMModel.objects.update, weight=0)
    await in_database(ask, gauges.from_rows)
    found = await in_database(ask, gauges.from_rows)
    of_model, own, further = (model.name,), (model.name, "simulator"), (model.name, "more")
    assert found["aily_leases_cap", *of_model] == 20, "of those that take tasks"
    assert found["aily_pool_paused_by_staff", *of_model] == 0
    assert [found["aily_deployment_weight", *labels] for labels in (own, further)] == [0, 2]
    assert [found["aily_deployment_cap", *labels] for labels in (own, further)] == [500, 20]
    assert found["aily_deployment_minute_limit", *further, "requests"] == 60
    await scheduler.aenqueue(model.pool, [scheduler.Entry("a", 0, 1), scheduler.Entry("b", 0, 1)])
    claims = [DeploymentClaim(more.key[1], 20, requests_per_minute=60)]
    await scheduler.claim(model.pool, "w", claims, want=2, lease_seconds=60)
    found = ask(gauges.from_redis)
    assert found["aily_deployment_slots_in_use", *further] == 2
    assert found["aily_deployment_minute", *further, "requests"] == 2
    assert found["aily_deployment_limit", *further] == 20
    for number in range(BREAKER_FAILURES):
        await scheduler.report_failure(
            more.key, f"t{number}", owner_id=1, lane=1, cap=20, fault=Fault.FAILED, is_alone=False
        )
    await scheduler.report_failure(
        more.key, "a", owner_id=1, lane=1, cap=20, fault=Fault.THROTTLED, retry_after_seconds=60
    )
    found = ask(gauges.from_redis)
    assert found["aily_deployment_breaker_state", *further] == 2
    assert found["aily_provider_breaker_state", "second"] == 2
    assert found["aily_provider_breaker_state", "simulator"] == 0
    assert 50 < found["aily_deployment_pause_seconds", *further] <= 60
    assert found["aily_deployment_limit", *further] == 10
    assert found["aily_pool_paused", *of_model] == 0, "one is not"
    scheduler.drop_worker("w", [more.key])


@pytest.mark.django_db
def test_the_servers_say_how_they_are() -> None:
    database = ask(services.read_database)
    assert database["aily_db_connections_max",] >= 1
    assert database["aily_db_lock_waits",] == 0
    assert database["aily_db_size_bytes",] > 0
    redis = ask(services.redis_query("redis", settings.REDIS_URL))
    assert redis["aily_redis_memory_used_bytes", "redis"] > 0
    assert redis["aily_redis_connected_clients", "redis"] >= 1


async def test_tool_servers(gauges: QueueGauges) -> None:
    server = await in_database(
        lambda: ToolServer.objects.create(name="crm", url="http://x", max_concurrent_calls=7)
    )
    assert await scheduler.take_slot(server.key, "process", "call", 7, 20) is None
    assert (await in_database(ask, gauges.from_rows))["aily_tool_slots_cap", "crm"] == 7
    assert ask(gauges.from_redis)["aily_tool_slots_in_use", "crm"] == 1
