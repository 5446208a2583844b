"""A provider that asks for an endless pause: everybody is told, and staff end it."""

from __future__ import annotations

import json

import pytest

from tests.client import ChatSocket, RestClient
from tests.stack import Stack


@pytest.mark.slow
async def test_an_endless_retry_after_is_bounded_told_and_lifted(
    stack: Stack, socket: ChatSocket, rest: RestClient
) -> None:
    first = await socket.submit(
        "Pause [sim:status=429,retry_after=1789000000,times=1,tokens=3]", model="metered"
    )
    frames = socket.frames_of(first).frames
    await socket.until(lambda: any(frame.get("waiting_for") for frame in frames))
    notice = next(frame for frame in frames if frame.get("waiting_for"))
    assert notice["waiting_for"]["kind"] == "retry"
    assert 240 < notice["eta_seconds"] <= 301
    accepted = await rest.post(
        "/api/llmchat/request",
        {"messages": [{"role": "user", "content": "Hi [sim:tokens=3]"}], "model": "metered"},
    )
    assert accepted.status == 202
    assert accepted.body["waiting_for"]["kind"] == "pause"
    assert 200 < accepted.body["eta_seconds"] <= 300
    task = await rest.task(accepted.body["task_id"])
    assert task["waiting_for"] == accepted.body["waiting_for"]
    listed = stack.manage("manage.py", "pauses").stdout.splitlines()
    assert any(line.startswith("model metered: ") for line in listed)
    lifted = stack.manage("manage.py", "pauses", "--lift", "metered").stdout.splitlines()
    assert lifted[-1] == "metered: lifted"
    ended = await rest.follow(accepted.body["task_id"])
    assert ended.types[-1] == "task.completed"
    # The one that was sent away need not wait any more either.
    assert (await socket.ended(first)).types[-1] == "task.completed"


@pytest.mark.slow
async def test_what_staff_pause_is_accepted_and_held_until_they_resume_it(
    stack: Stack, rest: RestClient
) -> None:
    assert stack.manage("manage.py", "pause", "metered").stdout.endswith("metered: paused\n")
    accepted = await rest.post(
        "/api/llmchat/request",
        {"messages": [{"role": "user", "content": "Hi [sim:tokens=3]"}], "model": "metered"},
    )
    assert accepted.status == 202
    assert accepted.body["waiting_for"] == {"kind": "staff", "until": None}
    status = json.loads(stack.manage("manage.py", "status", "--json").stdout.splitlines()[-1])
    [model] = [model for model in status["models"] if model["name"] == "metered"]
    assert sum(lane["queued"] for lane in model["lanes"]) == 1
    own = [pause["cause"] for pause in status["pauses"] if pause["name"] == "metered"]
    assert own == ["staff"]
    assert status["workers"]
    task = await rest.task(accepted.body["task_id"])
    assert (task["status"], task["waiting_for"]["kind"]) == ("queued", "staff")
    assert stack.manage("manage.py", "resume", "metered").stdout.endswith("metered: resumed\n")
    ended = await rest.follow(accepted.body["task_id"])
    assert ended.types[-1] == "task.completed"
