"""REST: limits in headers and problem documents."""

from __future__ import annotations

import pytest
from pytest_django import Settings

from aily.database.threads import in_database
from chat.models import Task
from chat.services import limits
from tests.chat.api.conftest import API, Api

BODY = {"messages": [{"role": "user", "content": "Hi"}]}


@pytest.fixture(autouse=True)
def _fresh_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_depths", limits.Depths())


async def test_rest_answers_say_where_the_rate_stands(api: Api, settings: Settings) -> None:
    settings.RATE_LIMIT_PER_MINUTE = 3
    answers = [await api.post(f"{API}/request", BODY) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [202, 202, 202, 429]
    assert {answer["RateLimit-Policy"] for answer in answers} == {'"requests";q=3;w=60'}
    left = [answer["RateLimit"].split(";")[1] for answer in answers]
    assert left == ["r=2", "r=1", "r=0", "r=0"]
    refused = answers[-1]
    assert refused.json()["code"] == "rate_limited"
    assert refused.json()["limit"] == {"name": "requests_per_minute", "value": 3}
    assert 1 <= int(refused["Retry-After"]) <= 600
    assert await in_database(Task.objects.count) == 3
    assert (await api.get(f"{API}/tasks")).status_code == 200


async def test_a_full_queue_is_a_problem_document_with_retry_after(
    api: Api, settings: Settings
) -> None:
    settings.MAX_QUEUED_PER_USER = 1
    await api.post(f"{API}/request", BODY)
    refused = await api.post(f"{API}/request", BODY)
    assert (refused.status_code, refused.json()["code"]) == (429, "queue_full")
    assert refused["Content-Type"] == "application/problem+json"
    assert 1 <= int(refused["Retry-After"]) <= 600
    assert refused["RateLimit"].startswith('"requests";r=')
