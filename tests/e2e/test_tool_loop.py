"""Loops of three steps, with an approval in the middle, while worker, web and Valkey are killed."""

from __future__ import annotations

import asyncio
import json
import math
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from django.conf import settings

from tests.client import Answer, RestClient
from tests.databases import make_database, url_of
from tests.ports import free_ports
from tests.prepared import MIGRATED
from tests.stack import Stack
from tests.waiting import eventually, until

#: How long the tools take.
CALL_SECONDS = 0.15
#: From when all processes are back at work to the end of a loop. By design: 5 s in which the new
#: worker is steady, a sweep 5 s later, 3 s without calls after a loss of Redis. The rest is for a
#: busy machine.
END_SECONDS = 90.0
#: A worker declares none dead within 5 s after it was late for half a lease itself: with one of 2 s
#: it always is on a busy machine. Before a new worker is steady this is over in any case.
LEASE_SECONDS = 6
MAKE_TOOLS = """
from accounts.models import APIKey, User
from chat.models import Scene, SceneVersion, Tool, ToolServer
from chat.services import scenes
server = ToolServer.objects.create(name="office", kind="http", url="http://127.0.0.1:%d")
names = ["once", "again", "ask"]
for name in names:
    Tool.objects.create(
        server=server, name=name, function_name=name, method="POST", path=f"/{name}",
        policy="ask" if name == "ask" else "automatic", is_idempotent=name == "again",
        is_enabled=True,
    )
scene = Scene.objects.create(slug="office", title="Office")
version = scenes.create_version(scene, None, {"user_template": "{{ text }}", "tools": names})
scenes.publish(version)
print(APIKey.create(User.objects.create_user("alice"), "e2e")[1])
"""


@dataclass
class Office:
    """A service whose calls are counted by tool and arguments."""

    port: int
    begun: Counter[str] = field(default_factory=Counter)
    finished: Counter[str] = field(default_factory=Counter)

    async def answer(self, request: web.Request) -> web.Response:
        call = f"{request.path[1:]} {json.dumps(await request.json(), sort_keys=True)}"
        self.begun[call] += 1
        await asyncio.sleep(CALL_SECONDS)
        self.finished[call] += 1
        return web.json_response({"done": call})


@dataclass(frozen=True)
class Installation:
    stack: Stack
    key: str
    port: int


@pytest.fixture(scope="module")
def installation(database_server: dict[str, str]) -> Iterator[Installation]:
    make_database(database_server, "aily_tool_loop", MIGRATED)
    [port] = free_ports(1)
    environment = {
        "WORKER_LEASE_SECONDS": str(LEASE_SECONDS),
        "TASK_RETRY_SECONDS": "0.2",
        "BEHIND_PROXY": "true",
    }
    only = ("valkey", "simulator", "worker", "scheduler", "web")
    with Stack(
        url_of(database_server, "aily_tool_loop"),
        Path(settings.DATA_DIR) / "tool-loop",
        environment=environment,
        only=only,
        script=MAKE_TOOLS % port,
    ) as stack:
        yield Installation(stack, stack.made[0], port)


@pytest.fixture
async def office(installation: Installation) -> AsyncIterator[Office]:
    office = Office(installation.port)
    application = web.Application()
    application.router.add_post("/{name}", office.answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", office.port).start()
        yield office
    finally:
        await runner.cleanup()


class Loop:
    """One task, driven by its user until it has ended, whatever is down meanwhile.

    It has no deadline of its own: `ends` has, once there is something to wait for.
    """

    def __init__(self, rest: RestClient, number: int) -> None:
        self._rest = rest
        self.number = number
        #: As its user has seen it last.
        self.task: dict[str, Any] = {}
        self._running = asyncio.create_task(self._run())

    async def stop(self) -> None:
        self._running.cancel()
        await asyncio.wait([self._running])

    async def ended(self) -> dict[str, Any]:
        return await asyncio.shield(self._running)

    async def _run(self) -> dict[str, Any]:
        plan = (
            f'once {{"n": {self.number}}} ; ask {{"n": {self.number}}} ; '
            f'again {{"n": {self.number}}}'
        )
        body = {"scene": "office", "variables": {"text": f"[sim:tools={plan}]"}}
        key = {"Idempotency-Key": f"loop-{self.number}"}
        accepted = await self._insist("POST", "/api/llmchat/request", json=body, headers=key)
        path = f"/api/llmchat/tasks/{accepted['task_id']}"

        async def has_ended() -> bool:
            self.task = await self._insist("GET", path)
            if self.task["status"] == "requires_action":
                await self._approve(path)
            return self.task["status"] in ("succeeded", "failed", "cancelled", "expired")

        await eventually(has_ended, "the end of a loop", math.inf)
        return self.task

    async def _approve(self, path: str) -> None:
        for call in self.task["tool_calls"]:
            if call["state"] == "requires_action":
                # A second answer is refused: the first one may have come though it broke off.
                await self._insist(
                    "POST",
                    f"{path}/tool-calls/{call['call_id']}",
                    json={"decision": "approve"},
                    allowed=(200, 409),
                )

    async def _insist(
        self, method: str, path: str, allowed: tuple[int, ...] = (200, 202), **options: Any
    ) -> Any:
        """What is answered once all that is needed is back."""

        async def answered() -> Answer | None:
            try:
                answer = await self._rest.call(method, path, **options)
            except (aiohttp.ClientError, ConnectionError, TimeoutError):
                return None
            assert answer.status in (*allowed, 429, 503), answer
            return answer if answer.status in allowed else None

        found = await eventually(answered, f"an answer to {method} {path}", math.inf)
        assert found is not None
        return found.body


@asynccontextmanager
async def loops(installation: Installation, numbers: range) -> AsyncIterator[list[Loop]]:
    async with RestClient(installation.stack.base_url, installation.key) as rest:
        running = [Loop(rest, number) for number in numbers]
        try:
            yield running
        finally:
            for loop in running:
                await loop.stop()


async def ends(stack: Stack, running: list[Loop]) -> list[dict[str, Any]]:
    """The tasks once they have ended, which they are to do soon after all processes are back."""
    await asyncio.to_thread(stack.wait_until_whole)
    try:
        async with asyncio.timeout(END_SECONDS):
            return [await loop.ended() for loop in running]
    except TimeoutError:
        seen = "\n".join(json.dumps(loop.task) for loop in running)
        raise AssertionError(f"not ended:\n{seen}\n{stack.log_tail()}") from None


def check(task: dict[str, Any], office: Office) -> None:
    """The task ended right, and no finished call was made twice."""
    assert task["status"] == "succeeded", task
    calls = task["tool_calls"]
    assert [call["tool"] for call in calls] == ["once", "ask", "again"], calls
    for call in calls:
        name = f"{call['tool']} {json.dumps(json.loads(call['arguments']), sort_keys=True)}"
        if call["tool"] == "again":
            assert call["state"] == "succeeded"
            assert office.finished[name] >= 1
        else:
            assert call["state"] in ("succeeded", "unknown")
            assert office.begun[name] <= 1, "a call that must not be repeated was"
            assert call["state"] == "unknown" or office.finished[name] == 1


def has_begun(office: Office, tool: str) -> bool:
    return any(name.startswith(tool) for name in office.begun)


async def kill(stack: Stack, name: str) -> None:
    await asyncio.to_thread(stack.kill, name)
    await asyncio.to_thread(stack.restart, name)
    if name == "valkey-0":
        # It would end within seconds, as its lock is lost, and be started again.
        await asyncio.to_thread(stack.restart, "scheduler-0")


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_loops_survive_kills_of_each_process(
    installation: Installation, office: Office
) -> None:
    stack = installation.stack
    async with loops(installation, range(4)) as running:
        await until(lambda: len(office.begun) >= 2, "two calls", END_SECONDS)
        await kill(stack, "worker-0")
        await kill(stack, "web-0")
        await until(lambda: has_begun(office, "ask"), "an approved call", END_SECONDS)
        await kill(stack, "valkey-0")
        await kill(stack, "worker-0")
        for task in await ends(stack, running):
            check(task, office)


@pytest.mark.slow
@pytest.mark.timeout(1800)
async def test_fifty_kills_at_random(installation: Installation, office: Office) -> None:
    stack, chance = installation.stack, random.Random(18)
    for number in range(100, 150):
        async with loops(installation, range(number, number + 1)) as running:
            await asyncio.sleep(chance.uniform(0, 1.2))
            await kill(stack, chance.choice(["worker-0", "web-0", "web-1", "valkey-0"]))
            [task] = await ends(stack, running)
            check(task, office)
