"""The running installation that the end-to-end tests share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from django.conf import settings

from tests.client import ChatSocket, RestClient, chat_socket, reset_stats
from tests.databases import make_database, url_of
from tests.e2e.sessions import PASSWORD
from tests.prepared import MIGRATED
from tests.stack import Stack

_DATABASE = "aily_e2e"


# --- Who is at the front door -------------------------------------------------------------------
@dataclass(frozen=True)
class Keys:
    """API keys of two users who know nothing of each other, a revoked one of the first, and one of
    somebody who writes scenes."""

    alice: str
    bob: str
    revoked: str
    author: str


#: Besides the demo content: models that allow one call at once, and five, and one whose tasks are
#: counted; and a scene whose equal requests share calls and answers.
MAKE_KEYS = f"""
from accounts.models import APIKey, User
from chat.models import LLMModel, Scene
from chat.services import scenes
default = LLMModel.objects.get(is_default=True)
for name, cap in (("narrow", 1), ("capped", 5), ("metered", 100)):
    LLMModel.objects.create(provider=default.provider, name=name, max_concurrency=cap)
scene = Scene.objects.create(slug="shared", title="Shared")
fields = {{"user_template": "{{{{ text }}}}", "single_flight": True, "cache_ttl_seconds": 600}}
scenes.publish(scenes.create_version(scene, None, fields))
users = [User.objects.create_user(name, password="{PASSWORD}") for name in ("alice", "bob")]
users += [users[0], User.objects.create_superuser("author")]
keys = [APIKey.create(user, "e2e")[1] for user in users]
APIKey.objects.filter(digest=APIKey.digest_of(keys[2])).revoke()
print(*keys)
"""


#: Scenes that take long.
MAKE_LONG_SCENES = """
double = "{% set a = namespace(v=(1, 1)) %}{% for i in x %}{% set a.v = (a.v, a.v) %}{% endfor %}"
text, names = {"type": "string", "pattern": "^(a+)+$"}, {"type": "array", "uniqueItems": True}
for slug, template, schema in (
    ("endless", double + "{{ a.v }}", {}),
    ("pattern", "{{ x }}", {"properties": {"x": text}}),
    ("unique", "{{ x | length }}", {"properties": {"x": names}}),
    ("growing", double + "{{ a.v == a.v }}{{ [a.v] | unique | list }}", {}),
):
    scene = Scene.objects.create(slug=slug, title=slug)
    fields = {"user_template": template, "variables_schema": {"type": "object", **schema}}
    scenes.publish(scenes.create_version(scene, None, fields))
"""


# --- The installation ---------------------------------------------------------------------------
@pytest.fixture(scope="package")
def e2e_database_url(database_server: dict[str, str]) -> str:
    make_database(database_server, _DATABASE, MIGRATED)
    return url_of(database_server, _DATABASE)


ENVIRONMENT = {
    # Tests may come from any address.
    "BEHIND_PROXY": "true",
    "TASK_RETRY_SECONDS": "0.2",
    "POSITION_CHECK_SECONDS": "5",
    "RENDERING_SECONDS": "0.5",
    "WEBHOOK_ALLOW_PRIVATE": "true",
    "WEBHOOK_REQUIRE_HTTPS": "false",
    # What must not be in a log is not there even at this level.
    "LOG_LEVEL": "DEBUG",
    "LOG_FORMAT": "json",
}


@pytest.fixture(scope="package")
def stack(e2e_database_url: str) -> Iterator[Stack]:
    """aily as `make run` runs it, seeded with the demo content."""
    data_dir = Path(settings.DATA_DIR) / "e2e"
    # Passwords cost what they do: so many guesses at once are to harm nobody else.
    environment = {**ENVIRONMENT, "DJANGO_SETTINGS_MODULE": "aily.settings"}
    with Stack(
        e2e_database_url, data_dir, environment=environment, script=MAKE_KEYS + MAKE_LONG_SCENES
    ) as running:
        yield running


@pytest.fixture(scope="package")
def keys(stack: Stack) -> Keys:
    return Keys(*stack.made)


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
async def simulator(
    stack: Stack, rest: RestClient, bob_rest: RestClient
) -> AsyncIterator[RestClient]:
    """The simulator's own interface, its counters set back once nothing of earlier tests runs."""
    async with RestClient(stack.simulator_url, None) as client:
        for owner in (rest, bob_rest):
            await owner.cancel_all()
        await reset_stats(client)
        yield client
