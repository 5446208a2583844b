"""A full pool is no outage: requests without a connection are refused, others are served."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis
from django.conf import settings as django_settings
from django.db import OperationalError, connection
from django.test import AsyncClient, Client
from pytest_django import Settings

from accounts.models import APIKey, User
from aily.database.backend.connection import BoundedConnection
from aily.database.errors import is_pool_busy
from aily.database.outages import as_problem
from aily.database.rows import execute
from aily.database.threads import in_database
from aily.problems import Busy
from aily.redis.errors import RedisBusyError
from aily.redis.guarded import AsyncGuardedPool, GuardedPool
from chat.models import LLMModel, Provider
from tests.pools import held_connections, small_pool

TASKS = "/api/llmchat/tasks"


@pytest.fixture
def key(alice: User) -> dict[str, str]:
    _, secret = APIKey.create(alice, "test")
    return {"Authorization": f"Bearer {secret}"}


async def test_a_full_pool_refuses_requests_and_serves_the_next_one(
    key: dict[str, str], async_client: AsyncClient
) -> None:
    def hold_and_ask() -> list[Any]:
        client = Client(headers=key)
        with small_pool(2):
            assert client.get(TASKS).status_code == 200
            connection.close()
            with held_connections(2):
                refused = [client.get(TASKS) for _ in range(3)]
                is_open = BoundedConnection.circuit.is_open
            served = client.get(TASKS)
            connection.close()
        return [*refused, is_open, served]

    *refused, is_open, served = await asyncio.to_thread(hold_and_ask)
    for answer in refused:
        assert (answer.status_code, answer.json()["code"]) == (503, "busy")
        assert answer["Retry-After"] == "1"
    assert not is_open
    # At once: the circuit breaker was not opened for a second.
    assert served.status_code == 200


def test_one_free_connection_serves_while_the_others_are_held(key: dict[str, str]) -> None:
    client = Client(headers=key)
    with small_pool(3), held_connections(2):
        for _ in range(5):
            assert client.get(TASKS).status_code == 200
            connection.close()
        connection.close()


def test_a_full_disk_refuses_submits_and_serves_what_is_there(
    key: dict[str, str], settings: Settings
) -> None:
    """With a disk that is really full: tests/e2e/test_full_disk.py."""
    provider = Provider.objects.create(name="acme", base_url="http://127.0.0.1:9")
    LLMModel.objects.create(provider=provider, name="any", is_default=True)
    client = Client(headers=key)
    body = {"messages": [{"role": "user", "content": "ping"}]}
    settings.MIN_FREE_DISK_BYTES = 2**60
    refused = client.post("/api/llmchat/request?sync=false", body, "application/json")
    assert (refused.status_code, refused.json()["code"]) == (503, "storage_full")
    assert refused["Retry-After"] == "10"
    assert client.get(TASKS).json()["count"] == 0


def test_a_page_says_that_it_is_busy_and_when_to_come_back(alice: User) -> None:
    client = Client(raise_request_exception=False)
    client.force_login(alice)
    with small_pool(1), held_connections(1):
        page = client.get("/account/")
        assert (page.status_code, page["Retry-After"]) == (503, "1")
        assert "in use" in page.content.decode()


def test_a_fault_of_a_page_stays_a_fault(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(raise_request_exception=False)
    client.force_login(alice)
    monkeypatch.setattr("accounts.sessions.account_views.sessions_of", lambda user: 1 / 0)
    assert client.get("/account/").status_code == 500


def test_a_server_that_cannot_be_reached_is_an_outage(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise OperationalError("refused")

    circuit = BoundedConnection.circuit
    with small_pool(2, timeout_seconds=0.1):
        monkeypatch.setattr(BoundedConnection, "connect", refuse)
        with pytest.raises(OperationalError) as caught:
            connection.ensure_connection()
        assert not is_pool_busy(caught.value)
        assert circuit.is_open
        monkeypatch.undo()
    circuit.record_success()
    connection.ensure_connection()


def test_a_server_that_takes_no_more_connections_but_answers_is_not_away(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop, has_begun = threading.Event(), threading.Event()

    def ask() -> None:
        try:
            while not stop.is_set():
                execute("SELECT 1")
                has_begun.set()
        finally:
            connection.close()

    connect = BoundedConnection.connect
    connected: list[bool] = []

    def connect_once(*args: Any, **kwargs: Any) -> Any:
        if connected:
            raise OperationalError("sorry, too many clients already")
        connected.append(True)
        return connect(*args, **kwargs)

    with small_pool(2), ThreadPoolExecutor(1) as executor:
        monkeypatch.setattr(BoundedConnection, "connect", connect_once)
        asking = executor.submit(ask)
        try:
            assert has_begun.wait(10)
            with pytest.raises(OperationalError) as caught:
                connection.ensure_connection()
        finally:
            stop.set()
        asking.result()
        monkeypatch.undo()
        assert is_pool_busy(caught.value)
        assert not BoundedConnection.circuit.is_open


async def test_a_database_that_answers_others_is_ready(
    transactional_db: None, async_client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A probe that finds no thread in time is no witness against PostgreSQL."""

    async def busy(*args: Any) -> None:
        await in_database(execute, "SELECT 1")
        raise TimeoutError

    monkeypatch.setattr("aily.web.probes.in_database", busy)
    monkeypatch.setattr("aily.web.probes.PROBE_SECONDS", 20)
    assert (await async_client.get("/readyz")).status_code == 200


async def test_a_full_pool_of_redis_is_busy_and_opens_no_circuit() -> None:

    small: dict[str, Any] = {"max_connections": 1, "timeout": 0.05}
    pool = GuardedPool.from_url(django_settings.REDIS_URL, **small)
    held = pool.get_connection()
    with pytest.raises(RedisBusyError) as caught:
        pool.get_connection()
    assert isinstance(as_problem(caught.value), Busy)
    assert isinstance(caught.value, redis.ConnectionError)
    assert not pool.circuit.is_open
    pool.release(held)  # type: ignore[no-untyped-call]
    pool.disconnect()

    async_pool = AsyncGuardedPool.from_url(django_settings.REDIS_URL, **small)
    async_held = await async_pool.get_connection()
    with pytest.raises(RedisBusyError):
        await async_pool.get_connection()
    assert not async_pool.circuit.is_open
    await async_pool.release(async_held)
    await async_pool.disconnect()
