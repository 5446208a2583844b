"""Lists and reports come from a replica while it keeps up, but not for who has just written."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from django.conf import settings

from aily.embedded.addresses import postgres_socket_dir
from tests.client import RestClient, chat_socket
from tests.databases import make_database, url_of
from tests.prepared import MIGRATED
from tests.proxy import Proxy
from tests.replica import Replica
from tests.stack import Stack
from tests.waiting import eventually

CONVERSATIONS = "/api/conversations"
#: Enough requests that both web processes have answered some.
SEVERAL = 12
#: How long an answer of either server is awaited.
ANSWER_SECONDS = 5


#: Alice, and Bob who has a task; both have an API key. And a session of the staff's.
_MAKE = """
from django.test import Client
from accounts.models import APIKey, User
from chat.models import LLMModel, Task
alice, bob = (User.objects.create_user(name) for name in ("alice", "bob"))
task = Task.objects.create(owner=bob, model=LLMModel.objects.first(), messages=[])
client = Client()
client.force_login(User.objects.create_superuser("root"))
keys = [APIKey.create(user, "e2e")[1] for user in (alice, bob)]
print(*keys, task.pk, client.cookies["sessionid"].value)
"""


@dataclass(frozen=True)
class Site:
    stack: Stack
    replica: Replica
    network: Proxy
    alice: str
    bob: str
    task_id: str
    session: str


@pytest.fixture(scope="module")
def site(database_server: dict[str, str]) -> Iterator[Site]:
    if not database_server.get("host", "").startswith("/"):
        pytest.skip("a replica is made of the embedded PostgreSQL only")
    make_database(database_server, "aily_replica", MIGRATED)
    data_dir = Path(settings.DATA_DIR)
    with (
        Replica(data_dir / "replica", database_server) as replica,
        Proxy(postgres_socket_dir(replica.data_dir) / ".s.PGSQL.5432") as network,
    ):
        server = {**database_server, "host": "127.0.0.1", "port": str(network.port)}
        environment = {
            "DATABASE_REPLICA_URL": url_of(server, "aily_replica"),
            "DATABASE_REPLICA_MAX_LAG_SECONDS": "2",
            "DATABASE_ANSWER_SECONDS": str(ANSWER_SECONDS),
        }
        url = url_of(database_server, "aily_replica")
        with Stack(
            url,
            data_dir / "replicated",
            environment=environment,
            only=("valkey", "web"),
            script=_MAKE,
        ) as stack:
            yield Site(stack, replica, network, *stack.made)


class Reader:
    """Somebody whose every request comes by a connection of its own, to whichever process."""

    def __init__(self, site: Site, key: str) -> None:
        self._site, self._key = site, key

    async def get(self, path: str) -> Any:
        async with RestClient(self._site.stack.base_url, self._key) as client:
            answer = await client.get(path)
        assert answer.status == 200, answer
        return answer.body

    async def post(self, path: str, body: Any) -> Any:
        async with RestClient(self._site.stack.base_url, self._key) as client:
            answer = await client.post(path, body)
        assert answer.status < 300, answer
        return answer.body

    async def is_let_in(self, path: str) -> bool:
        """Whether `SEVERAL` requests are answered. A process may use its copy of what somebody may
        do for half a second."""
        for _ in range(SEVERAL):
            async with RestClient(self._site.stack.base_url, self._key) as client:
                if (await client.get(path)).status == 404:
                    return False
        return True

    async def reads_at_replica(self, path: str, table: str) -> int:
        """How many statements on this table the replica is sent by `SEVERAL` requests."""
        before = self._site.replica.reads_of(table)
        for _ in range(SEVERAL):
            await self.get(path)
        return self._site.replica.reads_of(table) - before

    async def until(self, path: str, table: str, *, all_there: bool) -> None:
        """Ask again and again, until all of `SEVERAL` requests go to the replica, or none."""

        async def go_there() -> bool:
            reads = await self.reads_at_replica(path, table)
            return (reads >= SEVERAL) if all_there else (reads == 0)

        await eventually(go_there, f"reads of {table}", 30)


@pytest.fixture
async def alice(site: Site) -> Reader:
    return Reader(site, site.alice)


@pytest.fixture
async def bob(site: Site) -> Reader:
    """He writes nothing, and the replica is fresh when a test begins."""
    bob = Reader(site, site.bob)
    await bob.until(CONVERSATIONS, "chat_conversation", all_there=True)
    return bob


@pytest.mark.parametrize(
    ("path", "table"),
    [
        ("/api/llmchat/tasks", "chat_task"),
        pytest.param("/api/usage", "chat_ledgerentry", marks=pytest.mark.slow),
        pytest.param("/api/tables", "tables_table", marks=pytest.mark.slow),
    ],
)
async def test_lists_and_reports_are_read_there(bob: Reader, path: str, table: str) -> None:
    # On a busy machine the replica may be late for a moment, and is rightly not read then.
    await bob.until(path, table, all_there=True)


async def test_who_has_written_reads_it_at_once_from_any_process(
    site: Site, alice: Reader, bob: Reader
) -> None:
    site.replica.pause()
    try:
        made = await alice.post(CONVERSATIONS, {"title": "new"})
        before = site.replica.reads_of("chat_conversation")
        for _ in range(SEVERAL):
            listed = await alice.get(CONVERSATIONS)
            assert made["id"] in {item["id"] for item in listed["items"]}
        assert site.replica.reads_of("chat_conversation") == before
    finally:
        site.replica.resume()
    await alice.until(CONVERSATIONS, "chat_conversation", all_there=True)


@pytest.mark.slow
async def test_who_has_submitted_by_a_socket_finds_the_task_at_once(
    site: Site, alice: Reader, bob: Reader
) -> None:
    tasks = "/api/llmchat/tasks"
    await alice.until(tasks, "chat_task", all_there=True)
    site.replica.pause()
    try:
        async with chat_socket(site.stack.base_url, site.alice) as socket:
            task_id = await socket.submit("I am in the list")
        for _ in range(SEVERAL):
            assert task_id in {item["task_id"] for item in (await alice.get(tasks))["items"]}
    finally:
        site.replica.resume()
    await alice.until(tasks, "chat_task", all_there=True)


async def test_a_task_is_always_read_from_the_primary(site: Site, bob: Reader) -> None:
    assert await bob.reads_at_replica(f"/api/llmchat/tasks/{site.task_id}", "chat_task") == 0


@pytest.mark.slow
async def test_rows_of_tables_are_read_where_they_are_written(
    site: Site, alice: Reader, bob: Reader
) -> None:
    """Rows go with the revision that the log of the table announces, also to others; a change of
    the fields, which ends queries of a replica, disturbs nobody."""
    site.replica.pause()
    try:
        fields = [{"name": "Text", "kind": "text"}]
        made = await alice.post("/api/tables", {"name": "New", "fields": fields})
        path, key = f"/api/tables/{made['id']}", made["fields"][0]["key"]
        shares = {"shares": [{"user": "bob", "access": ["read"]}]}
        async with RestClient(site.stack.base_url, site.alice) as client:
            assert (await client.call("PUT", f"{path}/shares", json=shares)).status == 200
        await eventually(lambda: bob.is_let_in(path), "Bob's access")
        for place in range(SEVERAL // 3):
            created = [{"op": "create", "values": {key: f"Row {place}"}}]
            await alice.post(f"{path}/rows:batch", {"operations": created})
            await alice.post(f"{path}/fields", {"name": f"F{place}", "kind": "integer"})
            for reader in (alice, bob):
                page = await reader.post(f"{path}/rows:query", {"count": "exact"})
                assert page["count"] == place + 1
                assert len(page["items"][0]["values"]) == place + 2
            snapshot = await bob.post(f"{path}:open", {})
            rows = await bob.get(f"/api/tables/snapshots/{snapshot['id']}/rows?from=0&n=100")
            assert len(rows["items"]) == place + 1
        assert site.replica.reads_of(f'tables"."t{made["id"]}') == 0
    finally:
        site.replica.resume()
    await alice.until("/api/tables", "tables_table", all_there=True)


@pytest.mark.slow
async def test_pages_of_the_admin_are_read_there(site: Site, bob: Reader) -> None:
    cookies = {"sessionid": site.session}
    before = site.replica.reads_of("chat_ledgerentry")
    async with aiohttp.ClientSession(site.stack.base_url, cookies=cookies) as client:
        for _ in range(SEVERAL):
            async with client.get("/admin/chat/ledgerentry/") as page:
                assert page.status == 200
                assert "Select ledger entry to view" in await page.text()
    assert site.replica.reads_of("chat_ledgerentry") > before
    assert site.replica.reads_of("django_session") == 0
    assert site.replica.reads_of("accounts_user") == 0


async def test_a_replica_that_lags_is_not_read(site: Site, alice: Reader, bob: Reader) -> None:
    site.replica.pause()
    try:
        await alice.post(CONVERSATIONS, {"title": "newer"})
        await bob.until(CONVERSATIONS, "chat_conversation", all_there=False)
    finally:
        site.replica.resume()
    await bob.until(CONVERSATIONS, "chat_conversation", all_there=True)


@pytest.mark.slow
async def test_a_replica_that_dies_is_missed_by_nobody(site: Site, bob: Reader) -> None:
    site.replica.stop()
    try:
        for _ in range(SEVERAL):
            await bob.get(CONVERSATIONS)
    finally:
        site.replica.start()
    await bob.until(CONVERSATIONS, "chat_conversation", all_there=True)


async def seconds_of(reader: Reader, requests: int) -> float:
    began = time.monotonic()
    for _ in range(requests):
        await reader.get(CONVERSATIONS)
    return time.monotonic() - began


@pytest.mark.slow
async def test_a_replica_whose_network_swallows_packets_is_missed_by_nobody(
    site: Site, bob: Reader
) -> None:
    site.network.cut()
    try:
        # Whoever was on the way there gets an answer, from the primary.
        await asyncio.gather(*(bob.get(CONVERSATIONS) for _ in range(SEVERAL)))
        # After that nobody tries to go there: a single one would wait longer than all these.

        async def are_quick() -> bool:
            return await seconds_of(bob, SEVERAL) <= ANSWER_SECONDS

        await eventually(are_quick, "quick answers", 30)
    finally:
        site.network.heal()
    await bob.until(CONVERSATIONS, "chat_conversation", all_there=True)
