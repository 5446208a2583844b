"""A running installation for OpenAI's clients and others that speak its API."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from django.conf import settings
from openai import AsyncOpenAI, OpenAI

from tests.client import RestClient, reset_stats
from tests.databases import make_database, url_of
from tests.prepared import MIGRATED
from tests.stack import Stack

_DATABASE = "aily_clients"

#: Besides the demo content: models that allow one call at once, and five, and three users. Carol
#: has a budget of 40 tokens, which no prompt here fits into.
_SCRIPT = """
from accounts.models import APIKey, User
from chat.models import Budget, LLMModel
default = LLMModel.objects.get(is_default=True)
LLMModel.objects.create(provider=default.provider, name="narrow", max_concurrency=1)
LLMModel.objects.create(provider=default.provider, name="killed", max_concurrency=5)
users = [User.objects.create_user(name) for name in ("alice", "bob", "carol")]
Budget.objects.create(user=users[2], name="tiny", period="total", limit_tokens=40)
print(*(APIKey.create(user, "clients")[1] for user in users))
"""

ENVIRONMENT = {
    "TASK_RETRY_SECONDS": "0.2",
    "TASK_MAX_FAILURES": "2",
    "DROPPED_REQUEST_SECONDS": "8",
    "WEBHOOK_ALLOW_PRIVATE": "true",
    "WEBHOOK_REQUIRE_HTTPS": "false",
}


@dataclass(frozen=True)
class Installation:
    """A running installation, by what clients know of it: `base_url` ends with `/v1`."""

    stack: Stack
    alice: str
    bob: str
    carol: str

    @property
    def base_url(self) -> str:
        return f"{self.stack.base_url}/v1"


@pytest.fixture(scope="package")
def installation(database_server: dict[str, str]) -> Iterator[Installation]:
    """aily as `make run` runs it, with the demo content and the simulated provider."""
    make_database(database_server, _DATABASE, MIGRATED)
    data_dir = Path(settings.DATA_DIR) / "clients"
    stack = Stack(
        url_of(database_server, _DATABASE),
        data_dir,
        # Answers come at once unless the prompt says otherwise.
        simulator_arguments=["--latency", "0", "--tokens-per-second", "0"],
        environment=ENVIRONMENT,
        only=("valkey", "simulator", "worker", "scheduler", "web"),
        script=_SCRIPT,
    )
    with stack:
        yield Installation(stack, *stack.made)


@pytest.fixture
def sdk(installation: Installation) -> Iterator[OpenAI]:
    """The SDK as Alice, without retries."""
    with OpenAI(
        base_url=installation.base_url, api_key=installation.alice, max_retries=0
    ) as client:
        yield client


@pytest.fixture(scope="package")
def api(installation: Installation) -> Iterator[httpx.Client]:
    """Alice over plain HTTP, without an SDK."""
    headers = {"Authorization": f"Bearer {installation.alice}"}
    with httpx.Client(base_url=installation.base_url, headers=headers, timeout=30) as client:
        yield client


@pytest.fixture
async def async_sdk(installation: Installation) -> AsyncIterator[AsyncOpenAI]:
    """The asynchronous SDK as Alice, without retries."""
    async with AsyncOpenAI(
        base_url=installation.base_url, api_key=installation.alice, max_retries=0
    ) as client:
        yield client


@pytest.fixture
async def simulator(installation: Installation, rest: RestClient) -> AsyncIterator[RestClient]:
    """The simulator's own interface, its counters set back once nothing of earlier tests runs."""
    async with RestClient(installation.stack.simulator_url, None) as client:
        await rest.cancel_all()
        await reset_stats(client)
        yield client


@pytest.fixture
async def rest(installation: Installation) -> AsyncIterator[RestClient]:
    """Alice over aily's own REST API."""
    async with RestClient(installation.stack.base_url, installation.alice) as client:
        yield client
