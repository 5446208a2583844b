"""The probes, with their parts there and away."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator

import pytest
import redis.asyncio
from django.test import AsyncClient, Client
from pytest_django import Settings

from aily.web import probes as views


@pytest.fixture
def silent_server() -> Iterator[int]:
    """The port of a server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_live_process_says_so_without_a_database() -> None:
    # Without a fixture for it, pytest-django forbids the database.
    assert Client().get("/livez").content == b"ok"


def test_ready_when_database_and_redis_answer(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "PROBE_SECONDS", 20)
    response = Client().get("/readyz")
    assert response.status_code == 200
    assert response.json() == {"status": "ok", "parts": {"database": "ok", "redis": "ok"}}
    assert "no-store" in response["Cache-Control"]


async def test_not_ready_and_not_hanging_while_redis_is_silent(
    transactional_db: None,
    silent_server: int,
    monkeypatch: pytest.MonkeyPatch,
    async_client: AsyncClient,
) -> None:
    client = redis.asyncio.Redis(host="127.0.0.1", port=silent_server)
    monkeypatch.setattr(views, "async_redis", lambda: client)
    monkeypatch.setattr(views, "PROBE_SECONDS", 1.5)
    started = time.monotonic()
    response = await asyncio.wait_for(async_client.get("/readyz"), 20)
    assert time.monotonic() - started < 15
    assert response.status_code == 503
    parts = {"database": "ok", "redis": "unavailable"}
    assert response.json() == {"status": "unavailable", "parts": parts}
    await client.aclose()


async def test_not_ready_and_not_hanging_while_the_database_is_silent(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch, async_client: AsyncClient
) -> None:
    is_over = threading.Event()

    def never_answers() -> None:
        is_over.wait(60)

    monkeypatch.setattr(views, "_query_database", never_answers)
    monkeypatch.setattr(views, "PROBE_SECONDS", 1.5)
    started = time.monotonic()
    response = await async_client.get("/readyz")
    took_seconds = time.monotonic() - started
    is_over.set()
    assert took_seconds < 15
    assert response.status_code == 503
    assert response.json()["parts"] == {"database": "unavailable", "redis": "ok"}


def test_hosts_are_checked_before_anything_is_said(settings: Settings) -> None:
    settings.ALLOWED_HOSTS = ["aily.example"]
    assert Client().get("/livez").status_code == 400
