"""The running installation that the end-to-end tests share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import psycopg
import pytest
from django.conf import settings
from django.db import connections
from pytest_django.plugin import DjangoDbBlocker

from tests.client import ChatSocket, RestClient, chat_socket
from tests.stack import Stack

_DATABASE = "aily_e2e"


@pytest.fixture(scope="session")
def database_server(django_db_blocker: DjangoDbBlocker) -> dict[str, str]:
    """How libpq reaches the tests' PostgreSQL, as far as it is set."""
    with django_db_blocker.unblock():
        parameters = connections["default"].get_connection_params()
    wanted = {"host", "port", "user", "password"}
    return {key: value for key, value in parameters.items() if key in wanted}


def make_database(server: dict[str, Any], name: str) -> None:
    """Make an empty database beside the one of the other tests, on the same server."""
    with psycopg.connect(**server, dbname="postgres", autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        connection.execute(f"CREATE DATABASE {name}")


@pytest.fixture(scope="session")
def e2e_database_url(database_server: dict[str, str]) -> str:
    make_database(database_server, _DATABASE)
    return url_of(database_server, _DATABASE)


def url_of(server: dict[str, str], database: str) -> str:
    """Everything but the name in the query, where a socket's directory can stand as well."""
    user = quote(server.get("user", ""))
    password = quote(server.get("password", ""))
    where = urlencode([(key, server[key]) for key in ("host", "port") if key in server])
    return f"postgres://{user}:{password}@/{database}?{where}"


@pytest.fixture(scope="session")
def stack(e2e_database_url: str) -> Iterator[Stack]:
    """aily as `make run` runs it, seeded with the demo content."""
    environment = {
        "TASK_RETRY_SECONDS": "0.2",
        "POSITION_CHECK_SECONDS": "5",
        "WEBHOOK_ALLOW_PRIVATE": "true",
        "WEBHOOK_REQUIRE_HTTPS": "false",
        # What must not be in a log is not there even at this level.
        "LOG_LEVEL": "DEBUG",
        "LOG_FORMAT": "json",
    }
    data_dir = Path(settings.DATA_DIR) / "e2e"
    with Stack(e2e_database_url, data_dir, environment=environment) as running:
        yield running


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Shows the processes' logs with a failed test."""
    report = yield
    running = getattr(item, "funcargs", {}).get("stack")
    if report.failed and isinstance(running, Stack):
        report.sections.append(("logs", running.log_tail()))
    return report


# --- Who is at the front door -------------------------------------------------------------------
@dataclass(frozen=True)
class Keys:
    """API keys of two users who know nothing of each other, and a revoked one of the first."""

    alice: str
    bob: str
    revoked: str


#: Besides the demo content: models that allow one call at once, and five, and one whose tasks are
#: counted; and a scene whose equal requests share calls and answers.
_MAKE_KEYS = """
from accounts.models import APIKey, User
from chat.models import LLMModel, Scene
from chat.services import scenes
default = LLMModel.objects.get(is_default=True)
for name, cap in (("narrow", 1), ("capped", 5), ("metered", 100)):
    LLMModel.objects.create(provider=default.provider, name=name, max_concurrency=cap)
scene = Scene.objects.create(slug="shared", title="Shared")
fields = {"user_template": "{{ text }}", "single_flight": True, "cache_ttl_seconds": 600}
scenes.publish(scenes.create_version(scene, None, fields))
users = [User.objects.create_user(name) for name in ("alice", "bob")]
keys = [APIKey.create(user, "e2e")[1] for user in (*users, users[0])]
APIKey.objects.filter(digest=APIKey.digest_of(keys[2])).revoke()
print(*keys)
"""


@pytest.fixture(scope="session")
def keys(stack: Stack) -> Keys:
    return make_keys(stack)


def make_keys(stack: Stack) -> Keys:
    result = stack.manage("manage.py", "shell", "--verbosity", "0", "--command", _MAKE_KEYS)
    assert result.returncode == 0, result.stdout
    return Keys(*result.stdout.split())


@pytest.fixture
async def rest(stack: Stack, keys: Keys) -> AsyncIterator[RestClient]:
    """Alice over REST."""
    async with RestClient(stack.base_url, keys.alice) as client:
        yield client


@pytest.fixture
async def bob_rest(stack: Stack, keys: Keys) -> AsyncIterator[RestClient]:
    async with RestClient(stack.base_url, keys.bob) as client:
        yield client


@pytest.fixture
async def socket(stack: Stack, keys: Keys) -> AsyncIterator[ChatSocket]:
    """Alice over WebSocket."""
    async with chat_socket(stack.base_url, keys.alice) as socket:
        yield socket


@pytest.fixture
async def simulator(stack: Stack) -> AsyncIterator[RestClient]:
    """The simulator's own interface, its counters set back."""
    async with RestClient(stack.simulator_url, None) as client:
        await client.post("/stats/reset")
        yield client
