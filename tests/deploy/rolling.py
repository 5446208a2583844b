"""A rolling restart under load: each web and worker process once, and proof that no client noticed.

Clients come through nginx: some over WebSocket, some by REST, some by event streams.
tests/deploy/test_deployment.py says how to make it longer.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import aiohttp

from chat.llm.simulator.answers import simulated_answer
from tests.chaos.users import PatientUser
from tests.client import RestClient, TaskFrames
from tests.load.recording import MODEL

#: Of a REST client, in seconds: between two submits.
_PAUSE_SECONDS = 0.1
_TASKS_OF_SOCKET = 4
_DIRECTIVES = "[sim:latency=0.2,tokens=40,tps=40]"
_STREAM_ERRORS = (aiohttp.ClientError, OSError)


class Site(Protocol):
    """What is restarted, as its clients know it."""

    @property
    def base_url(self) -> str: ...

    @property
    def keys(self) -> list[str]:
        """Of users, one each."""
        ...

    @property
    def trust(self) -> ssl.SSLContext: ...


@dataclass
class Traffic:
    """What the REST clients saw."""

    statuses: Counter[int] = field(default_factory=Counter)
    #: Connections that broke before an answer.
    broken: list[str] = field(default_factory=list)
    task_ids: dict[str, str] = field(default_factory=dict)
    streams: list[TaskFrames] = field(default_factory=list)
    resumed: int = 0
    users: list[PatientUser] = field(default_factory=list)

    @property
    def reconnects(self) -> int:
        return sum(user.reconnects for user in self.users)


def prompt(name: str) -> str:
    return f"Rolling {name} {_DIRECTIVES}"


async def submit_steadily(
    rest: RestClient, name: str, traffic: Traffic, stop: asyncio.Event
) -> None:
    """Submit by REST until `stop` is set. Nothing is retried: each refusal is on the record."""
    number = 0
    while not stop.is_set():
        text = prompt(f"{name}-{number}")
        number += 1
        body = {"messages": [{"role": "user", "content": text}], "model": MODEL}
        try:
            answer = await rest.post("/api/llmchat/request", body)
        except _STREAM_ERRORS as error:
            traffic.broken.append(repr(error))
            continue
        traffic.statuses[answer.status] += 1
        if answer.status == 202:
            traffic.task_ids[answer.body["task_id"]] = text
        await asyncio.sleep(_PAUSE_SECONDS)


async def stream_steadily(
    rest: RestClient, name: str, traffic: Traffic, stop: asyncio.Event
) -> None:
    """Submit and watch, one task after another; a stream that ends early goes on elsewhere."""
    number = 0
    while not stop.is_set():
        frames = TaskFrames()
        messages = [{"role": "user", "content": prompt(f"{name}-{number}")}]
        number += 1
        body = {"messages": messages, "model": MODEL}
        coming = rest.stream("/api/llmchat/request/stream", "POST", json=body)
        while not frames.ended.is_set():
            async with coming as stream:
                async for event in stream.events():
                    if event.comment is None:
                        frames.add(event.data)
            if not frames.ended.is_set():
                traffic.resumed += 1
                # Not from an event: it may have ended before the first one.
                after = {"Last-Event-ID": frames.last_id} if frames.last_id else {}
                coming = rest.stream(f"{stream.location}/events", headers=after)
        traffic.streams.append(frames)


async def sit_steadily(site: Site, number: int, traffic: Traffic, stop: asyncio.Event) -> None:
    """Submit some tasks over a socket, see them end, and begin again."""
    url = f"{site.base_url.replace('http', 'ws', 1)}/ws/llmchat/"
    key = site.keys[number % len(site.keys)]
    while not stop.is_set():
        seed = len(traffic.users)
        prompts = [prompt(f"socket-{seed}-{task}") for task in range(_TASKS_OF_SOCKET)]
        user = PatientUser(url, key, prompts, seed, ssl=site.trust)
        traffic.users.append(user)
        await user.run(submit_seconds=0.5)


async def roll(site: Site, restart_all: Callable[[], None], *, users: int) -> list[str]:
    """Restart everything under load. Returns a line for everything that went wrong."""
    stop, traffic = asyncio.Event(), Traffic()
    async with RestClient(site.base_url, site.keys[0], site.trust) as rest:
        works = [
            work
            for number in range(users)
            for work in (
                submit_steadily(rest, f"rest-{number}", traffic, stop),
                stream_steadily(rest, f"stream-{number}", traffic, stop),
                sit_steadily(site, number, traffic, stop),
            )
        ]
        steady = [asyncio.create_task(work) for work in works]
        try:
            await asyncio.to_thread(restart_all)
            stop.set()
            async with asyncio.timeout(90):
                await asyncio.gather(*steady)
            problems = [line for user in traffic.users for line in _judge_user(user)]
            problems += await _judge_traffic(rest, traffic)
        finally:
            for task in steady:
                task.cancel()
    _report(traffic)
    if not traffic.resumed + traffic.reconnects:
        problems.append("no client was connected to what was restarted: this proves nothing")
    return problems


def _expected(text: str) -> str:
    messages = [{"role": "user", "content": text}]
    return simulated_answer({"model": MODEL, "messages": messages}).text


def _judge_user(user: PatientUser) -> list[str]:
    problems = []
    for task in user.tasks:
        problems += [f"{task.key}: {line}" for line in task.problems]
        if [end["type"] for end in task.ends] != ["task.completed"]:
            problems.append(f"{task.key}: ended as {task.ends}")
        elif task.text != _expected(task.prompt):
            problems.append(f"{task.key}: another text was streamed")
    return problems


async def _judge_traffic(rest: RestClient, traffic: Traffic) -> list[str]:
    problems = [f"a connection broke: {line}" for line in traffic.broken]
    problems += [
        f"{count} submits were answered with {status}"
        for status, count in traffic.statuses.items()
        if status != 202
    ]
    for frames in traffic.streams:
        frames.check_ids()
        if frames.types[-1] != "task.completed":
            problems.append(f"a stream ended with {frames.logged[-1]}")
    for task_id, text in list(traffic.task_ids.items()):
        path = f"/api/llmchat/tasks/{task_id}/events"
        result = (await rest.collect(path)).logged[-1]
        if result["type"] != "task.completed" or result["result"]["text"] != _expected(text):
            problems.append(f"{task_id} ended as {result}")
    return problems


def _report(traffic: Traffic) -> None:
    print(f"submits by REST: {dict(traffic.statuses)}, broken connections: {len(traffic.broken)}")
    print(f"streams: {len(traffic.streams)}, resumed: {traffic.resumed}")
    tasks = sum(len(user.tasks) for user in traffic.users)
    print(f"tasks over sockets: {tasks}, reconnects: {traffic.reconnects}")
