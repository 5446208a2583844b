"""Every Lua script, called through its subsystem on a Valkey in cluster mode.

The server refuses keys of different slots. What it does not refuse, a key that is not in KEYS, the
tests refuse: a prelude before each script looks at every command that the script calls.
"""

from __future__ import annotations

import ast
import asyncio
import hashlib
import re
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import pytest
import redis
from django.conf import settings as django_settings
from pytest_django import Settings

from accounts.sessions import throttle
from aily.cache import store
from aily.cache.keys import Keyspace
from aily.redis import rates
from aily.redis.clients import close_async_clients, sync_client, sync_redis
from aily.redis.scripts import LuaScript
from chat import eventlog, scheduler
from chat.eventlog import Append, Outcome
from chat.eventlog.keys import text_channel, user_channel
from chat.events import EventId
from chat.openai.waiters import registry
from chat.scheduler import DeploymentClaim, Entry, Fault, Probe, breakers
from chat.tables import live
from chat.tables.keys import changes_log
from tests.valkey_cluster import ValkeyCluster

ROOT: Path = django_settings.BASE_DIR
APPS = ("aily", "accounts", "chat")
SCRIPTS = sorted(
    path.relative_to(ROOT).as_posix() for app in APPS for path in (ROOT / app).rglob("*.lua")
)
#: With it the server checks the slots of keys that a script uses without declaring them, as well.
SHEBANG = "#!lua\n"
PRELUDE = """
local server, declared = redis, {}
for _, key in ipairs(KEYS) do declared[key] = true end
local keyless = { TIME = true, PUBLISH = true, PUBSUB = true }
local function check(name, ...)
  if keyless[string.upper(name)] then return end
  for _, key in ipairs(server.call('COMMAND', 'GETKEYS', name, ...)) do
    if not declared[key] then error('not in KEYS: ' .. key) end
  end
end
local redis = {
  call = function(...) check(...) return server.call(...) end,
  pcall = function(...) check(...) return server.pcall(...) end,
}
"""
POOL, WORKER = "12", "a-worker"
OWN, OTHER = (POOL, "0.7"), (POOL, "3.8")


# --- What calls each of them --------------------------------------------------------------------
async def count() -> None:
    counters = [rates.Counter("user:1", 5), rates.Counter("user:2", 5)]
    found = await asyncio.gather(*(rates.count(counter) for counter in counters))
    assert [rate and rate.remaining for rate in found] == [4, 4]
    (rate,) = await asyncio.to_thread(rates.count_many, [counters])
    assert isinstance(rate, rates.Rate)
    assert rate.remaining == 3


async def admit() -> None:
    gates = throttle.password_gates("account", "192.0.2.0", None)
    admission = await throttle.admit(gates, note="192.0.2.0")
    assert (len(admission.charged), admission.is_local) == (4, False)


async def refund() -> None:
    gates = throttle.password_gates("account", "192.0.2.0", None)
    admission = await throttle.admit(gates)
    known = throttle.known_place("account", "192.0.2.0")
    await asyncio.to_thread(throttle.refund, admission, exempt=known)
    exempted = await throttle.admit(gates, note="192.0.2.0")
    assert len(exempted.charged) == 3


async def take_and_return_slot() -> None:
    """The first call after Redis was found empty only begins the counting of slots."""
    await scheduler.take_slot(OWN, WORKER, "a-call", 1, 60)
    sync_redis().delete(scheduler.keys.pool_keys(POOL).counting)
    assert await scheduler.take_slot(OWN, WORKER, "a-call", 1, 60) is None
    assert await scheduler.take_slot(OWN, "another", "b-call", 1, 60) is not None
    await scheduler.return_slot(OWN, WORKER, "a-call")
    assert await scheduler.take_slot(OWN, "another", "b-call", 1, 60) is None


async def announce_changes() -> None:
    for rev, rows in ((1, range(9_000)), (3, [1]), (2, range(2_000))):
        await asyncio.to_thread(live.changed, 7, rev, list(rows)[:2_000], [5])
    log = sync_redis().xrange(changes_log(7))
    assert [place for place, _ in cast("list[Any]", log)] == [b"1-0", b"3-0", b"3-1"]


async def store_built() -> None:
    keyspace: Keyspace[int] = Keyspace("test", version=1)
    client = store.client()
    for key in (1, 2):
        client.set(keyspace.lock_key(key), "token" if key == 1 else "of another")
    entries = [(keyspace.lock_key(key), keyspace.key(key), b"value", 1000) for key in (1, 2)]
    store.store_built("token", entries)
    assert [bool(client.exists(keyspace.key(key))) for key in (1, 2)] == [True, False]


async def enqueue() -> None:
    entries = [Entry(f"task-{number}", 1, number) for number in range(3)]
    places, must_ring = await scheduler.aenqueue(POOL, entries)
    assert ([place.position for place in places], must_ring) == ([1, 2, 3], True)


async def claim(want: int = 1, probe: Probe | None = None, **ended: Any) -> scheduler.Claim:
    deployments = [
        DeploymentClaim(OWN[1], 2, requests_per_minute=9, tokens_per_minute=9000, **ended),
        DeploymentClaim(OTHER[1], 1, weight=0),
    ]
    return await scheduler.claim(
        POOL, WORKER, deployments, want=want, lease_seconds=60, probe=probe
    )


async def claim_in_all_states() -> None:
    scheduler.mark_known(POOL)
    await enqueue()
    assert (await claim(2)).task_ids == ["task-0", "task-1"]
    await open_breaker()
    assert (await claim(released=["task-0"], used_tokens={"task-0": 7})).may_probe
    assert (await claim(probe=Probe("task-2", "fresh", OWN[1]))).task_ids == ["task-2"]
    ended = ["task-1", "task-2"]
    await claim(released=ended, mean_seconds=2.0, succeeded=2, owners={1, 2})
    assert scheduler.blocks([OWN]) == ({}, {})
    await scheduler.aenqueue(POOL, [Entry("task-3", 2, 1, tokens=9, tried=[OTHER[1]])])
    claimed = await claim()
    assert (claimed.task_ids, claimed.tried) == (["task-3"], {"task-3": [OTHER[1]]})


async def fail(task_id: str, fault: Fault) -> float:
    return await scheduler.report_failure(
        OWN, task_id, owner_id=1, lane=1, cap=2, fault=fault, retry_after_seconds=30
    )


async def open_breaker() -> None:
    for number in range(breakers.BREAKER_UNREACHABLE):
        await fail(f"failing-{number}", Fault.UNREACHABLE)
    assert scheduler.blocks([OWN])[1]


async def report_failures() -> None:
    await open_breaker()
    await fail("failing-0", Fault.FAILED)
    assert await fail("throttled", Fault.THROTTLED) == pytest.approx(30, abs=1)


async def renew_worker() -> None:
    await restore_slots()
    await scheduler.renew_worker(WORKER, [OWN, OTHER, ("13", "0.7")], 60)


async def restore_slots() -> None:
    await scheduler.restore_slots(OWN, WORKER, {"task-0": False, "task-1": True}, 60)
    assert await scheduler.unknown_slots(WORKER, {OWN: []}) == {OWN: {"task-0", "task-1"}}


async def append() -> None:
    appends = [
        Append(f"task-{number}", EventId(1, 1), b"{}", user_channel(1), create=True)
        for number in range(2)
    ]
    appended = await asyncio.to_thread(eventlog.append, appends)
    assert [outcome for outcome, _ in appended] == [Outcome.APPENDED] * 2
    repeated = await eventlog.aappend(appends)
    assert [outcome for outcome, _ in repeated] == [Outcome.REPEATED] * 2
    gap = Append("task-0", EventId(1, 3), b"{}", text_channel("task-0"))
    assert (await eventlog.aappend([gap]))[0].outcome is Outcome.MISSING


WAITER = registry.Waiter("f1", UUID(int=1), 1)


async def beat() -> None:
    other = WAITER._replace(fingerprint="f2")
    began = await registry.beat("a-process", [WAITER, other], [], grace_seconds=60)
    assert began == (False, [])
    assert (await registry.beat("a-process", [], [other], grace_seconds=60)).is_known


async def drop() -> None:
    await beat()
    assert await registry.drop(WAITER, "a-process", is_written=True, grace_seconds=0)
    assert (await registry.beat("a-process", [], [], grace_seconds=0)).due == [WAITER]


async def attach() -> None:
    await beat()
    assert isinstance(await registry.attach("f1", "another"), float)
    assert await registry.drop(WAITER, "a-process", is_written=True, grace_seconds=60)
    assert await registry.attach("f1", "another") == WAITER


RUNS: dict[str, Callable[[], Awaitable[None]]] = {
    "accounts/sessions/lua/admit.lua": admit,
    "accounts/sessions/lua/refund.lua": refund,
    "aily/cache/lua/store.lua": store_built,
    "aily/redis/lua/count.lua": count,
    "chat/eventlog/lua/append.lua": append,
    "chat/openai/waiters/lua/attach.lua": attach,
    "chat/openai/waiters/lua/beat.lua": beat,
    "chat/openai/waiters/lua/drop.lua": drop,
    "chat/scheduler/lua/claim.lua": claim_in_all_states,
    "chat/scheduler/lua/enqueue.lua": enqueue,
    "chat/scheduler/lua/failed.lua": report_failures,
    "chat/scheduler/lua/renew.lua": renew_worker,
    "chat/scheduler/lua/restore.lua": restore_slots,
    "chat/scheduler/lua/return_slot.lua": take_and_return_slot,
    "chat/scheduler/lua/take_slot.lua": take_and_return_slot,
    "chat/tables/lua/changed.lua": announce_changes,
}


# --- In cluster mode ----------------------------------------------------------------------------
@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyCluster]:
    with ValkeyCluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


def scripts() -> list[LuaScript[Any]]:
    """All of the process, each once: modules keep them."""
    found = (value for module in list(sys.modules.values()) for value in vars(module).values())
    return list({id(value): value for value in found if type(value) is LuaScript}.values())


@pytest.fixture
def checked(
    cluster: ValkeyCluster, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> redis.Redis:
    """A client of an empty cluster, that all roles use; scripts are checked there."""
    settings.REDIS_URL = settings.RATES_REDIS_URL = cluster.url
    caches = {**settings.CACHES["default"], "LOCATION": [cluster.url]}
    settings.CACHES = {**settings.CACHES, "default": caches}
    for script in scripts():
        monkeypatch.setattr(script, "_source", SHEBANG + PRELUDE + script._source)
        sha = hashlib.sha1(script._source.encode(), usedforsecurity=False).hexdigest()
        monkeypatch.setattr(script, "_sha", sha)
    client = sync_client(cluster.url)
    client.flushall()
    client.script_flush()
    return client


def test_every_script_is_run() -> None:
    assert sorted(RUNS) == SCRIPTS


@pytest.mark.parametrize("path", SCRIPTS)
async def test_a_script_uses_the_keys_that_it_is_given_and_they_share_a_slot(
    path: str, checked: redis.Redis
) -> None:
    [script] = [script for script in scripts() if script.path == ROOT / path]
    assert checked.script_exists(script._sha) == [False]
    try:
        await RUNS[path]()
    finally:
        await close_async_clients()
    assert checked.script_exists(script._sha) == [True], "it did not run"


def test_the_checks_refuse_what_they_are_for(checked: redis.Redis) -> None:
    """A key that a script makes itself, and keys of two slots."""
    made = SHEBANG + PRELUDE + "return redis.call('GET', KEYS[1] .. ':more')"
    with pytest.raises(redis.ResponseError, match=re.escape("not in KEYS: aily:a:{1}:more")):
        checked.eval(made, 1, "aily:a:{1}")
    with pytest.raises(redis.RedisError, match=r"(?i)slot"):
        checked.eval("return 1", 2, "aily:a:{1}", "aily:a:{2}")


async def test_commands_with_several_keys_share_a_slot(checked: redis.Redis) -> None:
    """Of the roles that may become a cluster: what no script does."""
    await report_failures()
    assert scheduler.lift_pause(OWN)
    assert scheduler.close_breaker(OWN)
    assert scheduler.blocks([OWN]) == ({}, {})
    await restore_slots()
    scheduler.drop_worker(WORKER, [OWN])
    await close_async_clients()
    assert checked.hgetall(scheduler.keys.deployment_keys(OWN).in_use) == {}


async def test_a_batch_goes_on_where_the_server_has_lost_its_scripts(checked: redis.Redis) -> None:
    await restore_slots()
    checked.script_flush()
    await scheduler.renew_worker(WORKER, [OWN, ("13", "0.7")], 60)
    await close_async_clients()
    assert checked.zcard(scheduler.keys.pool_keys(POOL).workers) == 1
    in_use = scheduler.keys.deployment_keys(OWN).in_use
    assert checked.hgetall(in_use) == {WORKER.encode(): b"2:1"}


# --- By their text ------------------------------------------------------------------------------
def calls_in(code: str) -> Iterator[str]:
    """The arguments of each redis.call and redis.pcall."""
    for begin in re.finditer(r"redis\.p?call\(", code):
        depth, end = 1, begin.end()
        while depth:
            depth += {"(": 1, ")": -1}.get(code[end], 0)
            end += 1
        yield code[begin.end() : end - 1]


@pytest.mark.parametrize("path", SCRIPTS)
def test_a_script_builds_no_key(path: str) -> None:
    code = re.sub(r"--.*", "", (ROOT / path).read_text())
    assert "aily:" not in code
    assert re.findall(r"KEYS\[[^]]*\]\s*\.\.|\.\.\s*KEYS\[", code) == []
    assert [call for call in calls_in(code) if ".." in call] == []


def test_keys_are_made_in_the_modules_named_keys_alone() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {node.value}"
        for app in APPS
        for path in sorted((ROOT / app).rglob("*.py"))
        if path.name != "keys.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if re.match(r"aily:[^\s]", node.value)
    ]
    # The channel layer makes its own names with this prefix (channels_redis).
    assert [line for line in found if not line.endswith(": aily:layer")] == []
