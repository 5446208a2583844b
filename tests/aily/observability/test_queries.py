"""Statements are timed by kind, and those that are slow are named without their parameters."""

from __future__ import annotations

import pytest
from django.db import connection
from prometheus_client import REGISTRY
from pytest_django import Settings

from aily.observability.queries import time_queries


@pytest.fixture
def _timed(transactional_db: None) -> None:
    time_queries()
    connection.close()


def counted(name: str, operation: str) -> float:
    return sum(
        sample.value
        for metric in REGISTRY.collect()
        for sample in metric.samples
        if sample.name == name and sample.labels.get("operation") == operation
    )


@pytest.mark.usefixtures("_timed")
def test_a_slow_statement_is_counted_and_named_without_what_it_was_about(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.SLOW_QUERY_SECONDS = 0
    before = counted("aily_db_slow_queries_total", "select")
    with connection.cursor() as cursor:
        cursor.execute("SELECT %s::text,\n   1", ["a prompt"])
    assert counted("aily_db_slow_queries_total", "select") == before + 1
    [line] = [message for message in caplog.messages if "slow query" in message]
    assert line.endswith("SELECT %s::text, 1")
    assert "a prompt" not in caplog.text


@pytest.mark.usefixtures("_timed")
def test_a_quick_one_is_in_no_log(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    settings.SLOW_QUERY_SECONDS = 60
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    assert "slow query" not in caplog.text
