"""`manage.py status`: the queue, slots, pauses, workers and the last errors."""

from __future__ import annotations

import json
import time
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from accounts.models import User
from aily.redis.clients import sync_redis
from chat.models import Deployment, Lane, LLMModel, Status, Task, Worker
from chat.scheduler.keys import deployment_keys, pool_keys
from chat.services import pauses


def run(*arguments: str) -> str:
    out = StringIO()
    call_command("status", *arguments, stdout=out)
    return out.getvalue()


@pytest.fixture
def _busy(model: LLMModel, alice: User) -> None:
    """Two tasks that wait, one that runs, one that failed, a worker and two pauses."""
    worker = Worker.objects.create(
        hostname="host-1", pid=7, lease_until=timezone.now() + timedelta(seconds=30)
    )
    rows: list[dict[str, Any]] = [
        {"lane": Lane.BATCH},
        {"lane": Lane.BATCH},
        {"status": Status.RUNNING, "worker": worker},
        {
            "status": Status.FAILED,
            "finished_at": timezone.now(),
            "error": {"code": "provider_auth", "message": "No key."},
        },
    ]
    tasks = [Task.objects.create(owner=alice, model=model, messages=[], **row) for row in rows]
    hours_ago = timezone.now() - timedelta(hours=5)
    Task.objects.filter(pk=tasks[0].pk).update(created_at=hours_ago)
    sync_redis().hset(pool_keys(model.pool).stats, mapping={"in_use": 1, "cap": 250})
    sync_redis().hset(deployment_keys(model.own_key).limit, "paused_until", str(time.time() + 100))
    pauses.pause(model.provider)


@pytest.mark.usefixtures("_busy")
def test_it_shows_all_as_json() -> None:
    status: dict[str, Any] = json.loads(run("--json"))
    [model] = status["models"]
    assert (model["name"], model["provider"]) == ("deepseek-flash", "simulator")
    lanes = {lane["lane"]: lane for lane in model["lanes"]}
    assert [lanes[name]["queued"] for name in ("interactive", "normal", "batch")] == [0, 0, 2]
    assert 17_999 < lanes["batch"]["oldest_seconds"] < 18_060
    assert [model[name] for name in ("running", "slots", "limit", "cap")] == [1, 1, 250, 500]
    assert [pause["cause"] for pause in status["pauses"]] == ["staff", "retry_after"]
    [worker] = status["workers"]
    assert (worker["hostname"], worker["pid"], worker["calls"]) == ("host-1", 7, 1)
    assert (worker["is_draining"], worker["is_late"]) == (False, False)
    [error] = status["errors"]
    assert (error["code"], error["model"]) == ("provider_auth", "deepseek-flash")


@pytest.mark.usefixtures("_busy")
def test_it_shows_all_to_people() -> None:
    text = run()
    row = next(line for line in text.splitlines() if line.startswith("deepseek-flash"))
    assert "batch 2" in row
    assert "5 h" in row
    assert "1/250 of 500" in row
    assert "paused (staff, retry_after)" in row
    assert "host-1:7" in text
    assert "paused by staff" in text
    assert "No key." in text


@pytest.mark.usefixtures("_busy")
def test_it_shows_the_deployments_of_a_model_that_has_several(model: LLMModel) -> None:
    assert "DEPLOYMENT" not in run()
    Deployment.objects.create(
        model=model, name="more", provider=model.provider, max_concurrency=20,
        requests_per_minute=60, weight=0,
    )  # fmt: skip
    own, more = json.loads(run("--json"))["models"][0]["deployments"]
    assert (own["name"], own["weight"], own["cap"]) == ("simulator", 0, 500), (
        "its provider is paused"
    )
    assert (more["name"], more["weight"], more["cap"]) == ("more", 0, 20)
    assert 90 < own["pause_seconds"] <= 100
    assert (more["requests"], more["requests_per_minute"], more["tokens"]) == (0, 60, 0)
    row = next(line for line in run().splitlines() if line.startswith("deepseek-flash@more"))
    assert "0/60 requests" in row
    assert "takes no tasks" in row


def test_of_an_empty_installation_it_says_so(transactional_db: None) -> None:
    assert json.loads(run("--json"))["models"] == []
    assert "none" in run()


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "1e9"])
def test_a_watch_without_a_sensible_time_is_an_error(seconds: str, transactional_db: None) -> None:
    with pytest.raises(CommandError, match="--watch takes"):
        run(f"--watch={seconds}")


@pytest.mark.usefixtures("_busy")
def test_it_shows_the_state_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        Task.objects.filter(status=Status.RUNNING).update(status=Status.CANCELLED)
        if len(waits) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("chat.management.commands.status.time.sleep", wait)
    lines = run("--watch", "1", "--json").splitlines()
    assert [json.loads(line)["models"][0]["running"] for line in lines] == [1, 0]
    assert waits == [1.0, 1.0]
